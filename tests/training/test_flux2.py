"""FLUX.2 as a base model to train on: its files, its latents and its text encoder, with small random models."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from diffusers import AutoencoderKLFlux2
from einops import rearrange
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model
from withanyone_pack.tests.comfyui.small_flux import SMALL_BASES
from withanyone_pack.tests.training.small_bases import BASES
from withanyone_pack.tests.training.test_base import small_vae

from training.base.base import load_base
from training.base.flux2 import FLUX_2
from training.base.quantize import FP8
from training.base.qwen_text import QwenText
from training.base.registry import family_of_module, velocity
from training.base.transformer import load_transformer, read_architecture
from training.base.vae import VaeImages, load_vae

CHANNELS = 16  # of the VAE's latent; four times as many are the transformer's
SIZES = {"num_layers": "2", "num_single_layers": "3", "mlp_ratio": "3.0", "axes_dims_rope": "8, 8, 8, 8"}
WORDS = ["<pad>", "user", "assistant", "two", "people", "park", "<", ">", "|", "/"]


def comfyui_weights():
    weights = SMALL_BASES["flux.2"]().model.diffusion_model.state_dict()
    return {key: value.clone().contiguous() for key, value in weights.items()}


def written(path, tensors):
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return path


def flux2_vae(decoder=None):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        vae = AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 32, 64, 64),
            decoder_block_out_channels=decoder,
            layers_per_block=1,
            latent_channels=CHANNELS,
        )
        vae.bn.running_mean.normal_()
        vae.bn.running_var.uniform_(0.5, 2.0)
    return vae.eval()


def qwen(layers=8):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers, "head_dim": 8}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        rope = {"rope_type": "default", "rope_theta": 1e6}
        configuration = Qwen3Config(vocab_size=len(WORDS), **sizes, **heads, rope_parameters=rope, rope_theta=1e6)
        return Qwen3Model(configuration).eval()


@pytest.fixture
def words(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "words"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<pad>", model_max_length=24
    ).save_pretrained(folder)
    return folder


def test_a_single_file_is_the_model_in_every_form_it_comes_in(tmp_path):
    weights = comfyui_weights()
    expected = FLUX_2.keys.to_diffusers(weights)
    whole = {"model.diffusion_model." + key: value for key, value in weights.items()} | {"vae.x": torch.zeros(1)}
    model = load_transformer(written(tmp_path / "a.safetensors", weights), torch.float32)
    model.save_pretrained(tmp_path / "folder" / "transformer")
    paths = [written(tmp_path / "b.safetensors", whole), written(tmp_path / "c.safetensors", expected)]
    for path in (tmp_path / "a.safetensors", *paths, tmp_path / "folder"):
        found = load_transformer(path, torch.float32)
        assert family_of_module(found) is FLUX_2
        assert all(torch.equal(value, expected[key]) for key, value in found.state_dict().items())
        assert {key: str(found.config[key]).strip("()[]") for key in SIZES} == SIZES


def test_scaled_fp8_is_multiplied_back_and_fp8_kept(tmp_path):
    weights = comfyui_weights()
    matrix = "single_blocks.0.linear1.weight"
    scaled = {key: value.to(FP8) if value.ndim == 2 and "blocks" in key else value for key, value in weights.items()}
    marks = {matrix.replace("weight", "weight_scale"): torch.tensor(2.0), "scaled_fp8": torch.zeros(2).to(FP8)}
    path = written(tmp_path / "flux2.safetensors", scaled | marks)
    found = load_transformer(path, torch.float32)
    name = "single_transformer_blocks.0.attn.to_qkv_mlp_proj"
    assert torch.equal(found.get_parameter(f"{name}.weight"), 2 * scaled[matrix].float())
    quantized = load_transformer(path, torch.float32, quantization="fp8")
    assert torch.equal(quantized.get_submodule(name).dequantize(), found.get_parameter(f"{name}.weight"))
    inputs = BASES["flux.2"].inputs(1)
    with torch.no_grad():
        assert (quantized(**inputs).sample - found(**inputs).sample).abs().max() < 1e-5


def test_a_file_that_lacks_a_tensor_is_refused_by_its_own_name(tmp_path):
    weights = comfyui_weights()
    del weights["txt_in.weight"]
    with pytest.raises(ValueError, match=r"not a whole FLUX\.2 transformer: context_embedder\.weight is missing"):
        read_architecture(written(tmp_path / "flux2.safetensors", weights))


def test_velocities_are_those_of_comfyuis_class(tmp_path):
    module = SMALL_BASES["flux.2"]().model.diffusion_model
    model = load_transformer(written(tmp_path / "flux2.safetensors", comfyui_weights()), torch.float32)
    generator = torch.Generator().manual_seed(0)
    latent, states = torch.randn(2, 64, 4, 6, generator=generator), torch.randn(2, 7, 96, generator=generator)
    sigmas = torch.tensor([0.3, 0.9])
    with torch.no_grad():
        expected = module(latent, sigmas, states)
        found = velocity(model, latent, sigmas, {"states": states}, 4.0)
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


@pytest.mark.parametrize("decoder", [None, (32, 32, 32, 32)])
def test_the_vae_and_its_latents(tmp_path, decoder):
    """Joined channel by channel, then normalized by the statistics of the file, in float32 whatever the VAE is in."""
    vae = flux2_vae(decoder)
    vae.save_pretrained(tmp_path / "folder" / "vae")
    state = {key: value for key, value in vae.state_dict().items() if not key.endswith("num_batches_tracked")}
    inside = {"quant_conv": "encoder.quant_conv", "post_quant_conv": "decoder.post_quant_conv"}
    renamed = {
        ".".join([inside.get(key.split(".")[0], key.split(".")[0]), *key.split(".")[1:]]): value
        for key, value in state.items()
    }
    latent = torch.randn(2, CHANNELS, 4, 6, generator=torch.Generator().manual_seed(0))
    joined = rearrange(latent, "b c (h p) (w q) -> b (c p q) h w", p=2, q=2)
    expected = torch.nn.functional.batch_norm(joined, vae.bn.running_mean, vae.bn.running_var, eps=1e-4)
    for path in (tmp_path / "folder", written(tmp_path / "vae.safetensors", renamed)):
        found, scale = load_vae(path, torch.bfloat16)
        assert isinstance(found, AutoencoderKLFlux2)
        assert torch.allclose(scale.into_model(latent), expected, atol=1e-5)
        assert torch.allclose(scale.out_of_model(scale.into_model(latent)), latent, atol=1e-5)
        assert scale.into_model(latent[0]).shape == FLUX_2.latent_shape(CHANNELS, 48, 32)
        with torch.no_grad():
            pixels = load_vae(path, torch.float32)[0].decode(latent).sample
            assert torch.allclose(pixels, vae.decode(latent).sample, atol=1e-5)
    assert VaeImages(tmp_path / "folder", torch.float32).family is FLUX_2


def test_what_does_not_belong_together_is_refused(tmp_path):
    flux = written(tmp_path / "flux2.safetensors", comfyui_weights())
    vae = written(tmp_path / "flux2-vae.safetensors", flux2_vae().state_dict())
    assert load_base(flux, vae, "fp32", "cpu").transformer.config.in_channels == 4 * CHANNELS
    small_vae().save_pretrained(tmp_path / "first")
    with pytest.raises(ValueError, match=r"Use FLUX\.2's own VAE \(flux2-vae\.safetensors\)"):
        load_base(flux, tmp_path / "first", "fp32", "cpu")
    with pytest.raises(ValueError, match=r"The VAE is FLUX\.2's, whose texts are read by qwen; not named: qwen"):
        FLUX_2.open_text_encoder({"t5": flux, "clip": flux}, torch.float32, "cpu")


@pytest.mark.parametrize("prefix", ["model.", "", "text_encoders.qwen3_4b.transformer.model."])
def test_states_of_three_layers_side_by_side(tmp_path, words, prefix):
    model = qwen()
    tensors = {prefix + key: value for key, value in model.state_dict().items()} | {"lm_head.weight": torch.zeros(1)}
    reader = QwenText(written(tmp_path / "qwen.safetensors", tensors), words, torch.float32)
    turn = "<|im_start|>user\ntwo people<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(words)
    found = tokenizer(
        turn, padding="max_length", padding_side="right", max_length=24, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        states = model(found["input_ids"], found["attention_mask"], output_hidden_states=True).hidden_states
    expected = torch.cat([states[2], states[4], states[6]], dim=-1)[0]
    assert reader.encode("two people")["states"].shape == (24, 96)
    assert torch.allclose(reader.encode("two people")["states"], expected, atol=1e-5)
    assert not torch.equal(reader.encode("a park")["states"], expected)
    reader.release()
    with pytest.raises(RuntimeError, match="has been released"):
        reader.encode("two people")


def test_another_text_encoder_is_refused(tmp_path, words):
    tensors = {key: value for key, value in qwen().state_dict().items() if "norm" not in key}
    with pytest.raises(
        ValueError, match=r"mistral\.safetensors is no Qwen3: .* FLUX\.2 dev's Mistral is not supported"
    ):
        QwenText(written(tmp_path / "mistral.safetensors", tensors), words)
    del (whole := dict(qwen().state_dict()))["layers.1.mlp.up_proj.weight"]
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj\.weight is missing"):
        QwenText(written(tmp_path / "cut.safetensors", whole), words)
