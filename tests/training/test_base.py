"""Base models from the files that users have."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from withanyone_pack.tests.comfyui.small_flux import small_flux

from training.base.base import load_base
from training.base.files import fingerprint
from training.base.flux1_keys import KEYS
from training.base.quantize import FP8, QuantizedLinear
from training.base.transformer import load_transformer
from training.base.vae import load_vae
from training.base.vae_keys import vae_to_diffusers

MATRIX = "double_blocks.0.img_attn.qkv.weight"


def weights():
    return {key: value.clone() for key, value in small_flux().model.diffusion_model.state_dict().items()}


def written(path, tensors):
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return path


def small_vae(groups=32):
    from diffusers import AutoencoderKL

    torch.manual_seed(1)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=groups,
        scaling_factor=0.5,
        shift_factor=0.25,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def comfyui_vae():
    """ComfyUI's own module of the same sizes, which knows the names that ae.safetensors has."""
    from comfy.ldm.models.autoencoder import AutoencodingEngine

    sizes = {"double_z": True, "z_channels": 16, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32}
    sizes |= {"ch_mult": [1, 1, 2, 2], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}
    return AutoencodingEngine(
        regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
        encoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Encoder", "params": sizes},
        decoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Decoder", "params": sizes},
    )


def vae_to_comfyui(vae):
    """The weights of diffusers' small VAE under the names, and in the shapes, that ComfyUI has for them."""
    theirs, ours = comfyui_vae().state_dict(), vae.state_dict()
    renamed = zip(theirs, vae_to_diffusers(theirs), strict=True)
    return {key: ours[name].reshape(theirs[key].shape) for key, name in renamed}


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    return {
        "hidden_states": torch.randn(1, 24, 64, generator=generator).to(dtype),
        "encoder_hidden_states": torch.randn(1, 5, 96, generator=generator).to(dtype),
        "pooled_projections": torch.randn(1, 48, generator=generator).to(dtype),
        "timestep": torch.tensor([0.5], dtype=dtype),
        "guidance": torch.tensor([1.0], dtype=dtype),
        "img_ids": torch.zeros(24, 3),
        "txt_ids": torch.zeros(5, 3),
    }


def velocity(model, dtype=torch.float32):
    with torch.no_grad():
        return model(**inputs(dtype)).sample.float()


def difference(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_single_file_in_any_width(tmp_path, prefix, dtype):
    quantized = {key: value.to(dtype) for key, value in weights().items()}
    path = written(
        tmp_path / "flux.safetensors", {prefix + key: value for key, value in quantized.items()} | extra(prefix)
    )
    model = load_transformer(path, torch.float32)
    expected = KEYS.to_diffusers({key: value.float() for key, value in quantized.items()})
    assert model.config.num_attention_heads == 2
    assert tuple(model.config.axes_dims_rope) == (8, 12, 12)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def extra(prefix):
    """A whole checkpoint has a VAE and text encoders beside the transformer."""
    return {"vae.decoder.conv_in.weight": torch.zeros(2, 2)} if prefix else {}


@pytest.mark.parametrize("names", ["comfyui", "diffusers"])
def test_a_diffusers_folder_is_the_same_model(tmp_path, names):
    renamed = KEYS.to_diffusers(weights())
    single = written(tmp_path / "flux.safetensors", renamed if names == "diffusers" else weights())
    load_transformer(single, torch.float32).save_pretrained(tmp_path / "folder" / "transformer", max_shard_size="1MB")
    assert len(list((tmp_path / "folder" / "transformer").glob("*.safetensors"))) > 1
    model = load_transformer(tmp_path / "folder", torch.float32)
    assert all(torch.equal(value, renamed[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("scale_name", "per_row"), [("scale_weight", False), ("weight_scale", False), ("weight_scale", True)]
)
def test_scaled_fp8_is_descaled(tmp_path, scale_name, per_row):
    tensors = weights()
    matrix = tensors[MATRIX]
    scale = matrix.abs().amax(1) / 400 if per_row else (matrix.abs().max() / 400).reshape(())
    tensors[MATRIX] = (matrix / (scale[:, None] if per_row else scale)).to(FP8)
    tensors[MATRIX.replace("weight", scale_name)] = scale
    tensors["scaled_fp8"] = torch.zeros(2, dtype=FP8)
    tensors[MATRIX.replace("weight", "scale_input")] = torch.ones(())
    model = load_transformer(written(tmp_path / "flux.safetensors", tensors), torch.float32)
    parts = [model.transformer_blocks[0].attn.get_submodule(name).weight for name in ("to_q", "to_k", "to_v")]
    assert difference(torch.cat(parts), matrix) < 0.05


def test_plain_fp8_is_kept_to_the_bit(tmp_path):
    tensors = {key: value.to(FP8) if value.ndim == 2 else value for key, value in weights().items()}
    path = written(tmp_path / "flux.safetensors", tensors)
    wide, quantized = load_transformer(path, torch.float32), load_transformer(path, torch.float32, quantization="fp8")
    layers = [module for module in quantized.modules() if isinstance(module, QuantizedLinear)]
    assert len(layers) == 2 * 14 + 3 * 6
    assert all(layer.weight.dtype == FP8 for layer in layers)
    assert difference(velocity(quantized), velocity(wide)) < 1e-6


def test_an_fp8_base_passes_gradients_to_its_inputs_only(tmp_path):
    path = written(tmp_path / "flux.safetensors", weights())
    wide, quantized = load_transformer(path, torch.float32), load_transformer(path, torch.float32, quantization="fp8")
    gradients = []
    for model in (wide, quantized):
        model.enable_gradient_checkpointing()
        arguments = inputs()
        arguments["hidden_states"].requires_grad_()
        model(**arguments).sample.square().sum().backward()
        gradients.append(arguments["hidden_states"].grad)
    assert difference(gradients[1], gradients[0]) < 0.2
    assert all(parameter.grad is None for parameter in quantized.parameters())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({MATRIX.replace(".weight", ".weight_scale_2"): torch.ones(1)}, r"quantized as NVFP4"),
        ({MATRIX + ".quant_state.bitsandbytes__nf4": torch.ones(1)}, r"quantized as bitsandbytes"),
        ({"double_blocks.0.img_attn.qkv.qweight": torch.ones(1)}, r"quantized as Nunchaku"),
        ({MATRIX: torch.zeros(3, 3)}, r"has shape \[1, 3\], expected \[64, 64\]"),
        ({"double_blocks.0.img_mlp.1.weight": torch.zeros(1)}, r"double_blocks\.0\.img_mlp\.1\.weight is no key"),
        ({MATRIX.replace("weight", "weight_scale"): torch.ones(7)}, r"scales of shape \[7\]; expected one"),
        ({MATRIX: None}, r"3 tensors are missing \(transformer_blocks\.0\.attn\.to_[kqv]\.weight"),
        ({"txt_in.weight": None}, r"transformer: context_embedder\.weight is missing"),
        ({"img_in.weight": None}, r"not a whole FLUX\.1 transformer: x_embedder\.weight is missing"),
        ({"double_stream_modulation_img.lin.weight": torch.zeros(1)}, r"_img\.lin\.weight is no tensor of a FLUX\.1"),
    ],
)
def test_files_of_another_kind_are_refused_with_a_readable_message(tmp_path, change, words):
    tensors = {key: value for key, value in (weights() | change).items() if value is not None}
    with pytest.raises(ValueError, match=r"flux\.safetensors.*" + words):
        load_transformer(written(tmp_path / "flux.safetensors", tensors))


def test_missing_cut_off_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load_transformer(tmp_path / "gone.safetensors")
    (tmp_path / "flux.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"flux\.gguf is GGUF, .* Use the same model as \.safetensors"):
        load_transformer(tmp_path / "flux.gguf")
    (tmp_path / "flux.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"safetensors files only"):
        load_transformer(tmp_path / "flux.pt")
    (tmp_path / "page.safetensors").write_bytes(b"<!DOCTYPE html><html>log in</html>")
    with pytest.raises(ValueError, match=r"page\.safetensors is not a safetensors file \(web page\)\. A web page was"):
        load_transformer(tmp_path / "page.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x09" + bytes(19))
    with pytest.raises(ValueError, match=r"not a whole safetensors file"):
        load_transformer(tmp_path / "cut.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no \.safetensors file in"):
        load_transformer(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"holds no FLUX\.1 or FLUX\.2 transformer"):
        load_transformer(written(tmp_path / "other.safetensors", {"x": torch.zeros(1)}))


def test_a_shard_that_is_missing_is_named(tmp_path):
    model = load_transformer(written(tmp_path / "flux.safetensors", weights()), torch.float32)
    model.save_pretrained(tmp_path / "transformer", max_shard_size="1MB")
    index = json.loads(next((tmp_path / "transformer").glob("*.index.json")).read_text())
    name = max(index["weight_map"].values())
    (tmp_path / "transformer" / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        load_transformer(tmp_path)


def test_the_vae_as_comfyui_and_as_diffusers_has_it(tmp_path):
    vae, twin = small_vae(), comfyui_vae()
    renamed = vae_to_comfyui(vae)
    assert vae_to_diffusers(renamed).keys() == vae.state_dict().keys()
    assert all(torch.equal(value, vae.state_dict()[key]) for key, value in vae_to_diffusers(renamed).items())
    twin.load_state_dict(renamed)
    latent = torch.randn(1, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert difference(vae.decode(latent).sample, twin.decode(latent)) < 2e-5
    vae.save_pretrained(tmp_path / "folder" / "vae")
    whole = {"first_stage_model." + key: value for key, value in renamed.items()} | {"model.x": torch.zeros(1)}
    files = written(tmp_path / "ae.safetensors", renamed), written(tmp_path / "all.safetensors", whole)
    for path in (*files, tmp_path / "folder"):
        found, scale = load_vae(path, torch.float32)
        assert all(torch.equal(value, vae.state_dict()[key]) for key, value in found.state_dict().items())
        assert (scale.scale, scale.shift) == ((0.5, 0.25) if path.is_dir() else (0.3611, 0.1159))


def test_a_vae_file_beside_its_configuration_is_read_with_it(tmp_path):
    """How many groups are normalized is in no tensor."""
    small_vae(groups=4).save_pretrained(tmp_path)
    found, scale = load_vae(tmp_path / "diffusion_pytorch_model.safetensors", torch.float32)
    assert found.config.norm_num_groups == 4
    assert scale.scale == 0.5


def test_a_file_that_is_no_vae_is_refused(tmp_path):
    renamed = vae_to_comfyui(small_vae())
    with pytest.raises(ValueError, match=r"flux\.safetensors holds no VAE"):
        load_vae(written(tmp_path / "flux.safetensors", weights()))
    del renamed["decoder.up.0.block.1.conv2.bias"]
    with pytest.raises(ValueError, match=r"decoder\.up_blocks\.3\.resnets\.1\.conv2\.bias is missing"):
        load_vae(written(tmp_path / "ae.safetensors", renamed))


def test_both_together_and_what_does_not_belong_together(tmp_path):
    flux = written(tmp_path / "flux.safetensors", weights())
    vae = written(tmp_path / "ae.safetensors", vae_to_comfyui(small_vae()))
    base = load_base(flux, vae, "bf16", "cpu")
    assert base.transformer.x_embedder.weight.dtype == base.vae.dtype == torch.bfloat16
    assert base.scale.scale == 0.3611
    four = {key: value for key, value in weights().items() if not key.startswith(("img_in", "final_layer.linear"))}
    four |= {"img_in.weight": torch.zeros(64, 16), "img_in.bias": torch.zeros(64)}
    four |= {"final_layer.linear.weight": torch.zeros(16, 64), "final_layer.linear.bias": torch.zeros(16)}
    with pytest.raises(ValueError, match="latents of 16 channels and the transformer reads 4"):
        load_base(written(tmp_path / "four.safetensors", four), vae, "fp32", "cpu")


def test_fingerprints_know_contents_and_not_places(tmp_path):
    flux = written(tmp_path / "flux.safetensors", weights())
    moved = written(tmp_path / "other.safetensors", load_file(flux))
    changed = written(tmp_path / "changed.safetensors", load_file(flux) | {"img_in.bias": torch.zeros(64)})
    assert fingerprint(flux) == fingerprint(moved) != fingerprint(changed)
