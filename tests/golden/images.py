"""Replays of photos: the face crop, SigLIP's pixels, and the SigLIP tower on ComfyUI's own class."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...withanyone_core.faces.crop import face_crop
from ...withanyone_core.faces.siglip import pixel_values
from ...withanyone_core.regions.editing import blur_boxes
from ..pack import add_comfyui
from .network import MODULES
from .report import Outcome, within
from .stored import header, tensors

# Pillow's versions round resampled pixels to neighbouring levels.
ONE_LEVEL = 1 / 255


def crops(path: Path) -> Iterator[Outcome]:
    about = json.loads(path.read_text())
    crop = face_crop(_image(path.with_name(about["source"])), tuple(about["face_bbox_f32"]))
    yield within("face crop", torch.from_numpy(crop.copy()), _tensor(path.with_name(about["crop"])), ONE_LEVEL)
    pixels = pixel_values(_image(path.with_name(about["crop"])), 256)
    levels = (pixels[0].permute(1, 2, 0) * 0.5 + 0.5) * 255
    yield within("SigLIP pixels", levels, _tensor(path.with_name(about["siglip_u8"])), 1.001 * ONE_LEVEL)
    edit = about["ke"]
    blurred = blur_boxes(_image(path.with_name(edit["base"])), [tuple(box) for box in edit["bboxes"]], edit["min_side"])
    reference = _tensor(path.with_name(edit["blurred"]))
    yield within("face blur of the Kontext edit", torch.from_numpy(blurred.copy()), reference, ONE_LEVEL)


def siglip(path: Path) -> Iterator[Outcome]:
    add_comfyui()
    from ...nodes.siglip import patch_tokens, siglip_tower

    stored, heads = tensors(path), header(path)["config"]["num_attention_heads"]
    weights = {key: value for key, value in stored.items() if key.startswith("vision_model.")}
    tokens = patch_tokens(siglip_tower(weights, path.name, heads), stored["in.pixel_values"])
    yield within("last hidden state", tokens, stored["out.last_hidden_state"], MODULES)
    first_rows = pixel_values(_image(path.with_name("g_face_crop_512.png")), 256)[:, :, :8]
    reference = stored["g.face_crop_pixel_values_first8rows"]
    yield within("first rows of pixel values", first_rows, reference, 2 * 1.001 * ONE_LEVEL)


def _image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def _tensor(path: Path) -> torch.Tensor:
    return torch.from_numpy(_image(path))
