"""The second pass: latents of the crops, SigLIP tokens of the faces and texts, each made once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from withanyone_core.canvas import BoxPx
from withanyone_core.faces.crop import face_crop

from ..cache.shards import Shards, ShardWriter, key_of
from .crops import Crop
from .detection import mapped
from .jitter import Jitter
from .models import PreparationModels, TextEncoder, TokenEncoder
from .photos import decode_photo
from .sources import Source

# A posterior's mean has about three decimal places that its own spread does not swallow.
LATENT_DTYPE = torch.float16
TOKEN_DTYPE = torch.bfloat16


@dataclass(frozen=True, eq=False)
class ImageJob:
    """What is needed of one photo: the posterior of each crop, and the tokens of each face box and jittered crop."""

    source: Source
    digest: str
    crops: tuple[Crop, ...]
    faces_px: tuple[BoxPx, ...]
    jittered: tuple[Jitter, ...] = ()


def latent_key(models: PreparationModels, digest: str, crop: Crop) -> str:
    return key_of("latent", models.fingerprints["image"], digest, crop)


def siglip_key(models: PreparationModels, digest: str, shown: BoxPx | Jitter) -> str:
    """Of a face box as it is, or of a jittered crop. Empty without a SigLIP tower."""
    return key_of("siglip", models.fingerprints["siglip"], digest, shown) if models.siglip else ""


def text_key(fingerprint: str, text: str) -> str:
    """fingerprint  of the text encoders"""
    return key_of("text", fingerprint, text)


def encode_images(
    jobs: Iterable[ImageJob], models: PreparationModels, shards: Shards, shard_bytes: int, workers: int
) -> Iterator[ImageJob]:
    """Writes what is missing and yields each job once it is done."""
    # Apart, so that a changed VAE leaves no shard of old latents behind for the tokens in it.
    latents, tokens = ShardWriter(shards, shard_bytes), ShardWriter(shards, shard_bytes)

    def encode(job: ImageJob) -> tuple[ImageJob, dict[str, Tensor], dict[str, Tensor]]:
        return job, *_image_tensors(job, models, shards)

    for job, of_crops, of_faces in mapped(encode, jobs, workers):
        latents.put(of_crops)
        tokens.put(of_faces)
        yield job
    latents.flush()
    tokens.flush()


def encode_texts(texts: Sequence[str], encoder: TextEncoder, fingerprint: str, writer: ShardWriter) -> Iterator[str]:
    """Writes what is missing and yields each text once it is done; `fingerprint` is the encoder's."""
    for text in texts:
        key = text_key(fingerprint, text)
        if any(f"{key}.{name}" not in writer for name in encoder.names):
            encoded = encoder.encode(text)
            tensors = {name: _finite(tensor, f"the text {text!r}") for name, tensor in encoded.items()}
            writer.put({f"{key}.{name}": tensor.to(TOKEN_DTYPE) for name, tensor in tensors.items()})
        yield text
    writer.flush()


def _image_tensors(
    job: ImageJob, models: PreparationModels, kept: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The posteriors of the crops and the tokens of the faces that are not kept yet."""
    latents = {latent_key(models, job.digest, crop): crop for crop in job.crops}
    wanted = [(box, Jitter(box)) for box in job.faces_px] + [(jitter, jitter) for jitter in job.jittered]
    tokens = {siglip_key(models, job.digest, shown): jitter for shown, jitter in wanted} if models.siglip else {}
    latents = {key: crop for key, crop in latents.items() if f"{key}.logvar" not in kept}
    tokens = {key: jitter for key, jitter in tokens.items() if f"{key}.flipped" not in kept}
    if not latents and not tokens:
        return {}, {}
    photo = decode_photo(job.source.location.read())
    of_crops: dict[str, Tensor] = {}
    for key, crop in latents.items():
        mean, logvar = models.image.encode(crop.pixels(photo))
        for name, tensor in (("mean", mean), ("logvar", logvar)):
            of_crops[f"{key}.{name}"] = _finite(tensor, job.source.name).to(LATENT_DTYPE)
    of_faces = {} if models.siglip is None else _face_tensors(photo, tokens, models.siglip, job.source.name)
    return of_crops, of_faces


def _face_tensors(photo: np.ndarray, shown: Mapping[str, Jitter], siglip: TokenEncoder, name: str) -> dict[str, Tensor]:
    """The tokens of each face and of its mirror image, by the face's key."""
    found: dict[str, Tensor] = {}
    for key, jitter in shown.items():
        crop = jitter.colored(face_crop(photo, jitter.box_px))
        for kind, pixels in (("tokens", crop), ("flipped", np.ascontiguousarray(crop[:, ::-1]))):
            found[f"{key}.{kind}"] = _finite(siglip.tokens(pixels), name).to(TOKEN_DTYPE)
    return found


def _finite(tensor: Tensor, what: str) -> Tensor:
    if not torch.isfinite(tensor).all():
        raise ValueError(
            f"A model gave numbers that are not finite for {what}. Its file is damaged, or its number format is too "
            "narrow for it: try float32."
        )
    return tensor
