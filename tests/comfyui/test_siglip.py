import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from withanyone_pack.tests.pack import ROOT, add_comfyui

add_comfyui()

import comfy.clip_vision
from withanyone_pack.nodes.siglip import load_siglip, patch_tokens, siglip_encoder, siglip_tower
from withanyone_pack.withanyone_core.faces import siglip

TINY_HEADS = 4


@pytest.fixture(scope="module")
def golden():
    tensors = load_file(ROOT / "tests/golden/inference/g_siglip_tiny.safetensors")
    return {key: tensor.to(torch.float32) for key, tensor in tensors.items()}


def weights_of(golden):
    return {key: tensor for key, tensor in golden.items() if key.startswith("vision_model.")}


@pytest.fixture(scope="module")
def tower(golden):
    return siglip_tower(weights_of(golden), "tiny", TINY_HEADS)


def relative_error(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def test_patch_tokens_equal_the_released_program_s(golden, tower):
    tokens = patch_tokens(tower, golden["in.pixel_values"])
    assert tokens.dtype == torch.float32
    assert relative_error(tokens, golden["out.last_hidden_state"]) < 2e-6  # ComfyUI's own epsilon gives 7e-6


def test_epsilon_of_comfyui_would_be_seen(golden):
    wrong = siglip_tower(weights_of(golden), "tiny", TINY_HEADS)
    for module in wrong.model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5
    assert relative_error(patch_tokens(wrong, golden["in.pixel_values"]), golden["out.last_hidden_state"]) > 5e-6


def test_encoder_reads_a_crop(tower):
    crop = torch.randint(0, 256, (512, 512, 3), dtype=torch.uint8, generator=torch.manual_seed(1)).numpy()
    tokens = siglip_encoder(tower)(crop)
    assert tokens.shape == (16, 64)
    assert torch.equal(tokens, patch_tokens(tower, siglip.pixel_values(crop, 64))[0])


def test_tower_still_serves_comfyui_s_own_nodes(tower):
    output = tower.encode_image(torch.rand(1, 64, 64, 3))
    assert output["last_hidden_state"].shape == (1, 16, 64)


def test_file_of_the_whole_model_in_half_precision(golden, tmp_path):
    state = {key: tensor.to(torch.float16) for key, tensor in weights_of(golden).items()}
    state |= {"text_model.embeddings.token_embedding.weight": torch.zeros(2, 2), "logit_scale": torch.zeros(1)}
    state |= {"vision_model.head.probe": torch.zeros(1, 1, 64), "logit_bias": torch.zeros(1)}
    save_file(state, tmp_path / "model.safetensors")
    tower = load_siglip(tmp_path / "model.safetensors")
    assert {parameter.dtype for parameter in tower.model.parameters()} == {torch.float32}


def test_incomplete_tower_is_refused_with_a_message(golden):
    state = weights_of(golden)
    del state["vision_model.post_layernorm.weight"]
    with pytest.raises(
        ValueError, match=r"tiny is not a whole SigLIP vision tower: 1 tensors are missing .*post_layernorm"
    ):
        siglip_tower(state, "tiny", TINY_HEADS)


@pytest.mark.parametrize("size", [5000, 200000])
def test_truncated_and_foreign_files_are_refused_with_a_message(golden, tmp_path, size):
    path = tmp_path / "model.safetensors"
    save_file(weights_of(golden), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"model.safetensors \({size} bytes\) is not a complete safetensors file"):
        load_siglip(path)
    with pytest.raises(
        ValueError, match=r"model.bin is not a safetensors file. Use the .safetensors file of google/siglip"
    ):
        load_siglip(tmp_path / "model.bin")


def test_clip_vision_of_another_kind_is_refused_with_a_message(tmp_path):
    config = tmp_path / "clip.json"
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32}
    image = {"patch_size": 14, "image_size": 28, "num_channels": 3}
    config.write_text(json.dumps({**sizes, **image, "hidden_act": "gelu", "model_type": "clip_vision_model"}))
    clip = comfy.clip_vision.ClipVisionModel(str(config))
    with pytest.raises(
        ValueError, match=r"The model connected to clip_vision is a CLIP vision tower \(class token, 32"
    ):
        siglip_encoder(clip)
