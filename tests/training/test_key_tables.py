import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from withanyone_pack.tests.training.small_bases import BASES, CHANNELS

pytestmark = pytest.mark.parametrize("base", BASES.values(), ids=BASES)


def comfyui_weights(base):
    return {key: value.clone() for key, value in base.comfyui().state_dict().items()}


def with_scales(weights):
    """Under the names of Black Forest Labs' files; ComfyUI 0.14 renamed the scales of the norms to weights."""
    return {key.replace("_norm.weight", "_norm.scale"): value for key, value in weights.items()}


def test_there_and_back_is_the_same_model(base):
    weights = with_scales(comfyui_weights(base))
    back = base.keys.to_comfyui(base.keys.to_diffusers(weights))
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


def test_a_part_of_a_model_can_be_renamed_alone(base):
    weights = comfyui_weights(base)
    whole = base.keys.to_diffusers(weights)
    for key, tensor in weights.items():
        for name, part in base.keys.to_diffusers({key: tensor}).items():
            assert torch.equal(part, whole[name])


def test_the_newer_name_of_the_norms_is_known(base):
    scale = torch.arange(32.0)
    renamed = base.keys.to_diffusers({"single_blocks.3.norm.query_norm.weight": scale})
    assert list(renamed) == ["single_transformer_blocks.3.attn.norm_q.weight"]


@pytest.mark.parametrize(
    ("way", "key"), [("to_diffusers", "joint_blocks.0.x.weight"), ("to_comfyui", "blocks.0.attn.to_q.weight")]
)
def test_a_foreign_key_is_named(base, way, key):
    with pytest.raises(ValueError, match=key.replace(".", r"\.") + f" is no key of a {base.keys.label} model"):
        getattr(base.keys, way)({key: torch.zeros(1)})


def test_a_missing_part_is_named(base):
    weights = base.keys.to_diffusers(comfyui_weights(base))
    del weights["transformer_blocks.1.attn.to_k.weight"]
    with pytest.raises(ValueError, match=r"img_attn\.qkv\.weight cannot .*attn\.to_k\.weight is missing"):
        base.keys.to_comfyui(weights)


def test_diffusers_has_the_same_names(base):
    weights = with_scales(comfyui_weights(base))
    assert base.keys.to_diffusers(weights).keys() == base.transformer().state_dict().keys()


def test_both_classes_compute_the_same(base):
    module, twin = base.comfyui(), base.transformer()
    generator = torch.Generator().manual_seed(3)
    side = module.patch_size
    latent = torch.randn(2, CHANNELS // side**2, 4 * side, 6 * side, generator=generator)
    text, pooled = torch.randn(2, 7, 96, generator=generator), torch.randn(2, 48, generator=generator)
    sigma, guidance = torch.tensor([0.3, 0.9]), torch.tensor([1.0, 3.5])
    is_first = base.name == "flux.1"
    with torch.no_grad():
        expected = module(latent, sigma, text, pooled if is_first else None, guidance if is_first else None)
        image, ids = module.process_img(latent)
        places = torch.zeros(7, ids.shape[-1])
        if not is_first:
            places[:, 3] = torch.arange(7)
        own = {"pooled_projections": pooled, "guidance": guidance} if is_first else {}
        found = twin(
            hidden_states=image, encoder_hidden_states=text, timestep=sigma, img_ids=ids[0], txt_ids=places, **own
        ).sample
    expected, _ = module.process_img(expected)
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()
