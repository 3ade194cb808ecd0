"""The settings of prepare.py."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from withanyone_core.faces.analysis import PROVIDERS

from .reading import Fraction, Section, UserPath

TEXT_ENCODERS = ("t5", "clip", "qwen", "t5_tokenizer", "clip_tokenizer", "qwen_tokenizer")


class FaceSettings(Section):
    """Who finds and recognizes faces.

    pack           folder of an insightface pack (antelopev2): detector and the recognizer training uses
    det_threshold  lowest detection score that counts as a face
    det_size       side in pixels of the square a photo is fitted into; a multiple of 32
    provider       CPU, CUDA, ...
    second         card (.json) or .onnx of a recognizer that no loss uses, or dlib, for validation; without it none is
                   made
    """

    pack: UserPath
    det_threshold: Fraction = 0.4
    det_size: Annotated[int, Field(ge=32, multiple_of=32)] = 640
    provider: str = "CPU"
    second: UserPath | None = None

    @field_validator("provider")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PROVIDERS:
            raise ValueError(f"is {value!r}; expected one of {', '.join(PROVIDERS)}.")
        return value


class EncoderSettings(Section):
    """The frozen models whose answers are cached; each a safetensors file, or a diffusers folder of one.

    vae                 of the base model that is to be trained on, which it decides: FLUX.1 or FLUX.2
    t5, clip            FLUX.1's text encoders
    qwen                FLUX.2 klein's: Qwen3-4B for the 4B, Qwen3-8B for the 9B
    t5_tokenizer, clip_tokenizer, qwen_tokenizer  folders of their tokenizers
    siglip              the vision tower; without it no SigLIP branch can be trained
    device, precision   where and in which numbers they compute; auto: CUDA in bf16 where there is one
    """

    vae: UserPath
    t5: UserPath | None = None
    clip: UserPath | None = None
    qwen: UserPath | None = None
    t5_tokenizer: UserPath | None = None
    clip_tokenizer: UserPath | None = None
    qwen_tokenizer: UserPath | None = None
    siglip: UserPath | None = None
    device: str = "auto"
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"

    @property
    def text_paths(self) -> dict[str, Path]:
        """Text encoders and tokenizers that are named, by the names of these settings."""
        named = {name: getattr(self, name) for name in TEXT_ENCODERS}
        return {name: path for name, path in named.items() if path is not None}


class NegativeSettings(Section):
    """Faces of other people, besides data/negatives.

    bank    safetensors with `vectors` [N, 512] of the same recognizer, as `export` writes it, or another cache's bank
    export  file (.safetensors) to write the faces of other people to, for others to use as `bank`: embeddings only, no
            photos, no names, and nobody who is trained
    least   where fewer embeddings of other people are there, random ones fill up
    """

    bank: UserPath | None = None
    export: UserPath | None = None
    least: Annotated[int, Field(ge=0)] = 512

    @field_validator("export")
    @classmethod
    def _is_safetensors(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix != ".safetensors":
            raise ValueError(f"is {value.name}; expected a name that ends in .safetensors.")
        return value


class CaptionSettings(Section):
    """Captions for photos that have none, by an image-to-text model on this machine; nothing is downloaded.

    model       its folder, as transformers saves it (BLIP, Florence, LLaVA and others, in safetensors)
    prompt      what it is asked, if it takes a question
    max_tokens  length of a caption at most
    """

    model: UserPath | None = None
    prompt: str = ""
    max_tokens: Annotated[int, Field(ge=1, le=512)] = 75


class JitterSettings(Section):
    """Further crops of each face for SigLIP, which data.jitter of finetune.py draws from.

    variants    of each face; 0: none
    box         how far the frame's middle and sides move at most, as a fraction of the face's box
    brightness, contrast, saturation  change by at most this fraction
    """

    variants: Annotated[int, Field(ge=0, le=32)] = 0
    box: Annotated[float, Field(ge=0.0, le=0.3)] = 0.08
    brightness: Annotated[float, Field(ge=0.0, le=0.9)] = 0.1
    contrast: Annotated[float, Field(ge=0.0, le=0.9)] = 0.1
    saturation: Annotated[float, Field(ge=0.0, le=0.9)] = 0.1


class PrepareSettings(Section):
    """All settings of prepare.py.

    data            folder of photos: identities/NAME/, groups/, negatives/, captions/; or MultiID-2M as published
    cache           folder to write
    layout          photos, multiid2m, or auto: multiid2m where data has train_cp or train_rec
    sizes           training sizes in pixels: a size means about so many squared, at every aspect
    aspects         width:height of the buckets
    crops           cached cuts of each photo
    max_faces       faces of a photo that are trained; the known and the larger ones come first
    held_out        photos of each person kept for validation, a third of them at most
    upscale         use photos smaller than the smallest size, which train soft images
    unclear_folders  of people, which show two or whose faces disagree: stop, or leave_out with a warning
    duplicate_bits  of 64 in which perceptual hashes of the same photo differ at most
    seed            of crops, held-out photos and random negatives
    workers         photos in work at a time; 0: one a processor
    shard_mb        tensors are written in files of about this size, and at most one is lost when a run is killed
    limit           only so many photos of each part of MultiID-2M; 0: all
    """

    data: UserPath
    cache: UserPath
    faces: FaceSettings
    encoders: EncoderSettings
    negatives: NegativeSettings = NegativeSettings()
    jitter: JitterSettings = JitterSettings()
    captions: CaptionSettings = CaptionSettings()
    layout: Literal["auto", "photos", "multiid2m"] = "auto"
    sizes: Annotated[tuple[Annotated[int, Field(ge=16, le=4096, multiple_of=16)], ...], Field(min_length=1)] = (
        512,
        640,
        768,
    )
    aspects: Annotated[tuple[str, ...], Field(min_length=1)] = ("1:1", "3:4", "4:3", "2:3", "3:2")
    crops: Annotated[int, Field(ge=1, le=64)] = 4
    max_faces: Annotated[int, Field(ge=1, le=16)] = 4
    held_out: Annotated[int, Field(ge=0)] = 2
    upscale: bool = False
    unclear_folders: Literal["stop", "leave_out"] = "stop"
    duplicate_bits: Annotated[int, Field(ge=0, le=32)] = 4
    seed: int = 0
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    shard_mb: Annotated[float, Field(gt=0.0)] = 64.0
    limit: Annotated[int, Field(ge=0)] = 0

    @field_validator("aspects")
    @classmethod
    def _aspects(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ratio(text)
        return value

    @property
    def ratios(self) -> tuple[float, ...]:
        """Width over height of each aspect."""
        return tuple(ratio(text) for text in self.aspects)


def ratio(text: str) -> float:
    """Width over height of "3:4". Raises ValueError for anything else."""
    try:
        width, height = (float(part) for part in text.split(":"))
        value = width / height
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if not 0.25 <= value <= 4.0:
        raise ValueError(
            f'the aspect {text!r} is not understood; expected width:height from 1:4 to 4:1, such as "3:4".'
        )
    return value
