"""The files WithAnyone needs, where they are published, under which licence, and what is known of them beforehand."""

import re
from dataclasses import dataclass

from ..faces.analysis import DETECTOR_FILE, RECOGNIZER_FILE
from ..faces.licences import INSIGHTFACE
from ..faces.siglip import MODEL_NAME as SIGLIP_REPO

FLUX_LICENCE = "FLUX.1 [dev] Non-Commercial License"
ADAPTER_REPO = "WithAnyone/WithAnyone"
ENCODERS_REPO = "comfyanonymous/flux_text_encoders"
JUDGE_LICENCE = "Apache-2.0"
# Revisions, sizes and hashes are those that several public projects name alike. Nobody here has asked the hub for them:
# a download compares them with what the hub says and stops where the two differ.
FLUX_REVISION = "0ef5fff789c832c5c7f4e127f94c8b54bbcced44"
ENCODERS_REVISION = "6af2a98e3f615bdfa612fbd85da93d1ed5f69ef5"


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the Hugging Face hub, and its place in ComfyUI.

    name      what the user calls it on the command line
    what      one line for people
    needs     the sets it belongs to: "base" or "kontext", or both; "judge" for those that judge and condition nothing
    repo      "owner/name"
    path      path in the repository; a pattern where the exact name is not known, matched against the whole path
    folder    ComfyUI's folder key
    target    path there; None keeps the name it has in the repository
    revision  commit, or None for the newest
    licence   its name
    gated     whether its page asks for consent first
    size      bytes, None where not known
    sha256    None where not known
    """

    name: str
    what: str
    needs: tuple[str, ...]
    repo: str
    path: str | re.Pattern[str]
    folder: str
    licence: str
    target: str | None = None
    revision: str | None = None
    gated: bool = False
    size: int | None = None
    sha256: str | None = None


HUB_FILES = (
    HubFile(
        name="withanyone",
        what="WithAnyone adapter for FLUX.1-dev",
        needs=("base",),
        repo=ADAPTER_REPO,
        path="withanyone.safetensors",
        folder="withanyone",
        licence=FLUX_LICENCE,
    ),
    HubFile(
        name="withanyone-k",
        what="WithAnyone.K, text to image on FLUX.1-Kontext-dev",
        needs=("kontext",),
        repo=ADAPTER_REPO,
        path=re.compile(r"(?:.*/)?withanyone\.k(?!e)[^/\\]*\.safetensors", re.IGNORECASE),
        folder="withanyone",
        licence=FLUX_LICENCE,
    ),
    HubFile(
        name="withanyone-ke",
        what="WithAnyone.Ke, face editing on FLUX.1-Kontext-dev",
        needs=("kontext",),
        repo=ADAPTER_REPO,
        path=re.compile(r"(?:.*/)?withanyone\.ke[^/\\]*\.safetensors", re.IGNORECASE),
        folder="withanyone",
        licence=FLUX_LICENCE,
    ),
    HubFile(
        name="siglip",
        what="SigLIP, encodes the reference photos",
        needs=("base", "kontext"),
        repo=SIGLIP_REPO,
        path="model.safetensors",
        target="siglip-base-patch16-256-i18n.safetensors",
        folder="clip_vision",
        licence="Apache-2.0",
    ),
    HubFile(
        name="flux-dev",
        what="FLUX.1-dev, the base model",
        needs=("base",),
        repo="black-forest-labs/FLUX.1-dev",
        path="flux1-dev.safetensors",
        folder="diffusion_models",
        licence=FLUX_LICENCE,
        revision=FLUX_REVISION,
        gated=True,
        size=23_802_932_552,
        sha256="4610115bb0c89560703c892c59ac2742fa821e60ef5871b33493ba544683abd7",
    ),
    HubFile(
        name="flux-kontext",
        what="FLUX.1-Kontext-dev, the base model for editing",
        needs=("kontext",),
        repo="black-forest-labs/FLUX.1-Kontext-dev",
        path="flux1-kontext-dev.safetensors",
        folder="diffusion_models",
        licence=FLUX_LICENCE,
        gated=True,
    ),
    HubFile(
        name="vae",
        what="FLUX.1's VAE",
        needs=("base", "kontext"),
        repo="black-forest-labs/FLUX.1-dev",
        path="ae.safetensors",
        folder="vae",
        licence=FLUX_LICENCE,
        revision=FLUX_REVISION,
        gated=True,
        size=335_304_388,
        sha256="afc8e28272cd15db3919bacdb6918ce9c1ed22e96cb12c4d5ed0fba823529e38",
    ),
    HubFile(
        name="t5xxl",
        what="T5-XXL text encoder, fp16",
        needs=("base", "kontext"),
        repo=ENCODERS_REPO,
        path="t5xxl_fp16.safetensors",
        folder="text_encoders",
        licence="Apache-2.0",
        revision=ENCODERS_REVISION,
        size=9_787_841_024,
        sha256="6e480b09fae049a72d2a8c5fbccb8d3e92febeb233bbe9dfe7256958a9167635",
    ),
    HubFile(
        name="clip-l",
        what="CLIP-L text encoder",
        needs=("base", "kontext"),
        repo=ENCODERS_REPO,
        path="clip_l.safetensors",
        folder="text_encoders",
        licence="MIT",
        revision=ENCODERS_REVISION,
        size=246_144_152,
        sha256="660c6f5b1abae9dc498ac2d21e1347d2abdb0cf6c0c0c8576cd796491d9a6cdd",
    ),
    # The hash of YuNet is that in the publisher's own repository (opencv_zoo's note for Git LFS).
    HubFile(
        name="yunet",
        what="YuNet, finds faces; free for any use",
        needs=("judge",),
        repo="opencv/face_detection_yunet",
        path="face_detection_yunet_2023mar.onnx",
        target="models/opencv/face_detection_yunet_2023mar.onnx",
        folder="insightface",
        licence="MIT",
        size=232_589,
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    ),
    HubFile(
        name="sface",
        what="SFace, recognizes faces; free for any use",
        needs=("judge",),
        repo="opencv/face_recognition_sface",
        path="face_recognition_sface_2021dec.onnx",
        target="models/opencv/face_recognition_sface_2021dec.onnx",
        folder="insightface",
        licence=JUDGE_LICENCE,
        size=38_696_353,
        sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    ),
    HubFile(
        name="auraface",
        what="AuraFace, recognizes faces, better than SFace; free for any use, with YuNet",
        needs=("judge",),
        repo="fal/AuraFace-v1",
        path="glintr100.onnx",
        target="models/auraface/auraface_glintr100.onnx",
        folder="insightface",
        licence=JUDGE_LICENCE,
        size=260_694_151,
        sha256="a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60",
    ),
)

FACE_PACK = "antelopev2"
FACE_PACK_WHAT = "insightface's face detector and recognizer"
FACE_PACK_LICENCE = INSIGHTFACE
FACE_PACK_SIZE = 360_662_982  # of the zip
FACE_PACK_SHA256 = {
    DETECTOR_FILE: "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
    RECOGNIZER_FILE: "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
}


def published_name(sha256: str) -> str | None:
    """What a file of this hash is published as, or None where the hash is not known."""
    names = {file.sha256: f"{file.path} of {file.repo}" for file in HUB_FILES if file.sha256}
    names |= {digest: f"{name} of {FACE_PACK}" for name, digest in FACE_PACK_SHA256.items()}
    return names.get(sha256)
