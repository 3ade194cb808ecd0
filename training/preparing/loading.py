"""The real models of prepare.py, from files of the user's."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from withanyone_core.faces.analysis import CPU, PROVIDERS, InsightFaceAnalysis, load_face_analysis, onnx_folder
from withanyone_core.files.digest import file_sha256
from withanyone_core.metrics.dlib_judge import DlibJudge
from withanyone_core.metrics.judges import Judge, load_judge

from ..cache.shards import key_of
from ..configuration.preparing import CaptionSettings, EncoderSettings, FaceSettings, PrepareSettings
from .models import Captioner, PreparationModels

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class OneAtATime:
    """A model whose methods wait for each other: photos are decoded side by side, but no model is needed twice."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lock = Lock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._model, name)

        def waiting(*arguments: Any) -> Any:
            with self._lock:
                return method(*arguments)

        return waiting


def load_models(settings: PrepareSettings) -> PreparationModels:
    """Every model the settings name.

    Raises FileNotFoundError, ValueError or RuntimeError for what is missing or cannot be used.
    """
    analysis, faces, files = _faces(settings.faces)
    second = None if settings.faces.second is None else _second(settings.faces.second, settings.faces.provider)
    encoders = settings.encoders
    device, precision = _place(encoders)
    image, text, siglip = _encoders(encoders, device, DTYPES[precision])
    fingerprints = {
        "faces": faces,
        "image": key_of(image.fingerprint, precision),
        "text": key_of(text.fingerprint, precision),
    }
    files |= {encoders.vae.name: image.fingerprint, f"{encoders.t5.name} and {encoders.clip.name}": text.fingerprint}
    if second is not None:
        fingerprints["second"] = second.fingerprint
        files[second.file_name] = second.fingerprint
    captioner = None if settings.captions.model is None else _captioner(settings.captions, device, DTYPES[precision])
    if captioner is not None:
        fingerprints["captions"] = captioner.fingerprint
    if siglip is not None:
        fingerprints["siglip"] = key_of(siglip.fingerprint, precision)
        files[encoders.siglip.name] = siglip.fingerprint
    return PreparationModels(
        OneAtATime(analysis),
        OneAtATime(image),
        text,
        fingerprints,
        siglip and OneAtATime(siglip),
        second and OneAtATime(second),
        files,
        captioner,
    )


def _captioner(settings: CaptionSettings, device: str, dtype: torch.dtype) -> Captioner:
    from .captioner import LocalCaptioner  # here for the reason given in `_encoders`

    return LocalCaptioner(settings, dtype, device)


def _faces(settings: FaceSettings) -> tuple[InsightFaceAnalysis, str, dict[str, str]]:
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


def _encoders(settings: EncoderSettings, device: str, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """The VAE, the text encoders and the SigLIP tower, or None in its place."""
    # Here, for transformers and diffusers take seconds to import and --help should not wait.
    from ..base.siglip import SiglipTokens
    from ..base.text import FluxText
    from ..base.vae import VaeImages

    siglip = None if settings.siglip is None else SiglipTokens(settings.siglip, dtype, device)
    text = FluxText(settings.t5, settings.clip, settings.t5_tokenizer, settings.clip_tokenizer, dtype, device)
    return VaeImages(settings.vae, dtype, device), text, siglip
