import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.faces.siglip import BASE, TowerShape, pixel_values, tower_shape, vision_weights

GOLDEN = ROOT / "tests/golden/inference"


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "g_siglip_tiny.safetensors")


def empty_tower(width=768, layers=12, mlp_width=3072, patch_px=16, patches=256):
    """The tensors a shape is read from, without their memory."""
    shapes = {
        "embeddings.patch_embedding.weight": (width, 3, patch_px, patch_px),
        "embeddings.position_embedding.weight": (patches, width),
        **{f"encoder.layers.{index}.mlp.fc1.weight": (mlp_width, width) for index in range(layers)},
    }
    return {f"vision_model.{key}": torch.empty(shape, device="meta") for key, shape in shapes.items()}


def test_pixels_are_those_of_the_released_program(golden):
    crop = np.asarray(Image.open(GOLDEN / "g_face_crop_512.png").convert("RGB"))
    pixels = pixel_values(crop, 256)
    levels = (pixels * 0.5 + 0.5) * 255
    expected = np.asarray(Image.open(GOLDEN / "g_siglip_256_u8.png").convert("RGB"))
    assert pixels.shape == (1, 3, 256, 256)
    assert (levels[0].permute(1, 2, 0) - torch.from_numpy(expected.copy())).abs().max() < 1.001
    first_rows = golden["g.face_crop_pixel_values_first8rows"]
    assert (pixels[:, :, :8] - first_rows).abs().max() <= 1.001 * 2 / 255
    assert (pixels[:, :, :8] - first_rows).abs().median() < 1e-6


def test_shape_is_read_off_the_tensors(golden):
    with safe_open(GOLDEN / "g_siglip_tiny.safetensors", "pt") as file:
        config = json.loads(file.metadata()["json"])["config"]
    shape = tower_shape(vision_weights(golden), "golden", heads=config["num_attention_heads"])
    assert shape == TowerShape(
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_width=config["intermediate_size"],
        patch_px=config["patch_size"],
        image_size_px=config["image_size"],
    )
    assert tower_shape(empty_tower(), "base") == BASE


@pytest.mark.parametrize("prefix", ["vision_model.", ""])
def test_only_the_vision_tower_is_kept(prefix):
    state = {f"{prefix}{key.removeprefix('vision_model.')}": value for key, value in empty_tower().items()}
    extra = {f"{prefix}head.probe": torch.zeros(1)}
    if prefix:
        extra |= {"text_model.final_layer_norm.weight": torch.zeros(1), "logit_scale": torch.zeros(1)}
        extra |= {"logit_bias": torch.zeros(1)}
    assert vision_weights(state | extra).keys() == empty_tower().keys()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (
            empty_tower(1280, 32) | {"vision_model.embeddings.class_embedding": torch.zeros(1280)},
            r"x.safetensors is a CLIP vision tower \(class token, 1280 wide\), not SigLIP. Use google/siglip-base",
        ),
        (
            empty_tower(1152, 27, 4304, 14, 729),
            r"x.safetensors is not SigLIP base for 256 pixels: 1152 wide, 27 layers",
        ),
        (empty_tower(patches=196), r"not SigLIP base for 256 pixels: .* 196 tokens; expected 768 wide, 12 layers"),
        ({"vision_model.encoder.layer.0.x": torch.zeros(1)}, r"x.safetensors is not a SigLIP vision tower: it lacks"),
        ({}, r"x.safetensors is not a SigLIP vision tower: it lacks .*with the node Load SigLIP"),
    ],
)
def test_other_towers_are_refused_with_a_message(weights, words):
    with pytest.raises(ValueError, match=words):
        tower_shape(weights, "x.safetensors")
