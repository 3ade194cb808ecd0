import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui

add_comfyui()

from withanyone_pack.tests.comfyui.small_flux import SMALL, small_flux
from withanyone_pack.training.base.flux_keys import to_comfyui, to_diffusers


def comfyui_weights():
    return {key: value.clone() for key, value in small_flux().model.diffusion_model.state_dict().items()}


def test_there_and_back_is_the_same_model():
    weights = comfyui_weights()
    back = to_comfyui(to_diffusers(weights))
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


def test_a_part_of_a_model_can_be_renamed_alone():
    weights = comfyui_weights()
    whole = to_diffusers(weights)
    for key, tensor in weights.items():
        for name, part in to_diffusers({key: tensor}).items():
            assert torch.equal(part, whole[name])


def test_the_newer_name_of_the_norms_is_known():
    scale = torch.arange(32.0)
    renamed = to_diffusers({"single_blocks.3.norm.query_norm.weight": scale})
    assert list(renamed) == ["single_transformer_blocks.3.attn.norm_q.weight"]


@pytest.mark.parametrize(
    ("rename", "key"), [(to_diffusers, "joint_blocks.0.x.weight"), (to_comfyui, "blocks.0.attn.to_q.weight")]
)
def test_a_foreign_key_is_named(rename, key):
    with pytest.raises(ValueError, match=key.replace(".", r"\.") + " is no key of a FLUX.1 model"):
        rename({key: torch.zeros(1)})


def test_a_missing_part_is_named():
    weights = to_diffusers(comfyui_weights())
    del weights["transformer_blocks.1.attn.to_k.bias"]
    with pytest.raises(ValueError, match=r"img_attn\.qkv\.bias cannot .*attn\.to_k\.bias is missing"):
        to_comfyui(weights)


def test_both_classes_compute_the_same():
    from diffusers import FluxTransformer2DModel

    base = small_flux().model.diffusion_model
    heads = SMALL["num_heads"]
    twin = FluxTransformer2DModel(
        in_channels=64,
        num_layers=SMALL["depth"],
        num_single_layers=SMALL["depth_single_blocks"],
        attention_head_dim=SMALL["hidden_size"] // heads,
        num_attention_heads=heads,
        joint_attention_dim=SMALL["context_in_dim"],
        pooled_projection_dim=SMALL["vec_in_dim"],
        guidance_embeds=True,
        axes_dims_rope=tuple(SMALL["axes_dim"]),
    )
    twin.load_state_dict(to_diffusers(base.state_dict()))
    generator = torch.Generator().manual_seed(3)
    latent = torch.randn(2, 16, 8, 12, generator=generator)
    text, pooled = torch.randn(2, 7, 96, generator=generator), torch.randn(2, 48, generator=generator)
    sigma, guidance = torch.tensor([0.3, 0.9]), torch.tensor([1.0, 3.5])
    with torch.no_grad():
        expected = base(latent, sigma, text, pooled, guidance)
        image, ids = base.process_img(latent)
        found = twin(
            hidden_states=image,
            encoder_hidden_states=text,
            pooled_projections=pooled,
            timestep=sigma,
            img_ids=ids[0],
            txt_ids=torch.zeros(7, 3),
            guidance=guidance,
        ).sample
    expected, _ = base.process_img(expected)
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()
