"""The real models of prepare.py, from files of the user's."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch

from withanyone_core.faces.analysis import CPU, PROVIDERS, load_face_analysis, onnx_folder
from withanyone_core.files.digest import file_sha256
from withanyone_core.metrics.dlib_judge import DlibJudge
from withanyone_core.metrics.judges import Judge, load_judge

from ..cache.shards import key_of
from ..configuration.preparing import CaptionSettings, EncoderSettings, FaceSettings, PrepareSettings
from .models import (
    Captioner,
    FaceAnalysis,
    ImageEncoder,
    PreparationModels,
    SecondRecognizer,
    TokenEncoder,
)

if TYPE_CHECKING:  # imported where they are made
    from ..base.family import TextEncoder
    from ..base.siglip import SiglipTokens
    from ..base.vae import VaeImages

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def one_at_a_time(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The method, its calls waiting for each other: photos are decoded side by side, but no model is needed twice."""
    lock = Lock()

    @wraps(method)
    def waiting(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        with lock:
            return method(*arguments, **named)

    return waiting


class WaitingFaces:
    """A FaceAnalysis for several threads."""

    def __init__(self, analysis: FaceAnalysis) -> None:
        self.faces = one_at_a_time(analysis.faces)


class WaitingImage:
    """An ImageEncoder for several threads."""

    def __init__(self, encoder: ImageEncoder) -> None:
        self.encode = one_at_a_time(encoder.encode)


class WaitingTokens:
    """A TokenEncoder for several threads."""

    def __init__(self, encoder: TokenEncoder) -> None:
        self.tokens = one_at_a_time(encoder.tokens)


class WaitingRecognizer:
    """A SecondRecognizer for several threads."""

    def __init__(self, recognizer: SecondRecognizer) -> None:
        self.embed = one_at_a_time(recognizer.embed)


def load_models(settings: PrepareSettings) -> PreparationModels:
    """Every model the settings name.

    Raises FileNotFoundError, ValueError or RuntimeError for what is missing or cannot be used.
    """
    analysis, faces, files = _faces(settings.faces)
    second = None if settings.faces.second is None else _second(settings.faces.second, settings.faces.provider)
    encoders = settings.encoders
    device, precision = _place(encoders)
    image, text, siglip = _encoders(encoders, device, DTYPES[precision])
    texts = " and ".join(encoders.text_paths[name].name for name in image.family.text_settings)
    fingerprints = {
        "faces": faces,
        "image": key_of(image.fingerprint, precision),
        "text": key_of(text.fingerprint, precision),
    }
    files |= {encoders.vae.name: image.fingerprint, texts: text.fingerprint}
    if second is not None:
        fingerprints["second"] = second.fingerprint
        files[second.file_name] = second.fingerprint
    captioner = _captioner(settings.captions, device, DTYPES[precision])
    if captioner is not None:
        fingerprints["captions"] = captioner.fingerprint
    if siglip is not None and encoders.siglip is not None:
        fingerprints["siglip"] = key_of(siglip.fingerprint, precision)
        files[encoders.siglip.name] = siglip.fingerprint
    return PreparationModels(
        WaitingFaces(analysis),
        WaitingImage(image),
        text,
        fingerprints,
        None if siglip is None else WaitingTokens(siglip),
        None if second is None else WaitingRecognizer(second),
        files,
        captioner,
        image.family.model.name,
    )


def _captioner(settings: CaptionSettings, device: str, dtype: torch.dtype) -> Captioner | None:
    if settings.model is None:
        return None
    from .captioner import LocalCaptioner  # here for the reason given in `_encoders`

    return LocalCaptioner(settings.model, settings, dtype, device)


def _faces(settings: FaceSettings) -> tuple[FaceAnalysis, str, dict[str, str]]:
    """Detector and recognizer, their fingerprint, and the pack's files with SHA-256."""
    analysis = load_face_analysis(settings.pack, settings.provider, settings.det_size, settings.det_threshold)
    files = {path.name: file_sha256(path) for path in sorted(onnx_folder(settings.pack).glob("*.onnx"))}
    return analysis, key_of(sorted(files.items()), settings.det_size, settings.det_threshold), files


def _second(path: Path, provider: str) -> Judge | DlibJudge:
    """The recognizer that no loss uses. Raises ValueError for one that a loss has seen."""
    judge = load_judge(path, providers=tuple(dict.fromkeys((PROVIDERS[provider][0], CPU))))
    if judge.info.trained_with:
        raise ValueError(
            f"{path.name} is the recognizer that training itself uses, so it cannot tell whether training helped. Name "
            "another one as faces.second, such as AdaFace or w600k_r50."
        )
    return judge


def _place(settings: EncoderSettings) -> tuple[str, str]:
    """Device and number format. Raises ValueError for a device that is not there."""
    has_cuda = torch.cuda.is_available()
    device = settings.device if settings.device != "auto" else "cuda" if has_cuda else "cpu"
    if device.startswith("cuda") and not has_cuda:
        raise ValueError(f"encoders.device is {device}, but torch finds no CUDA here. Set encoders.device=cpu.")
    precision = settings.precision if settings.precision != "auto" else "fp32" if device == "cpu" else "bf16"
    return device, precision


def _encoders(
    settings: EncoderSettings, device: str, dtype: torch.dtype
) -> "tuple[VaeImages, TextEncoder, SiglipTokens | None]":
    """The VAE, the text encoders and the SigLIP tower, or None in its place."""
    # Here, for they take seconds to import and --help should not wait.
    from ..base.siglip import SiglipTokens
    from ..base.vae import VaeImages

    siglip = None if settings.siglip is None else SiglipTokens(settings.siglip, dtype, device)
    image = VaeImages(settings.vae, dtype, device)
    return image, image.family.open_text_encoder(settings.text_paths, dtype, device), siglip
