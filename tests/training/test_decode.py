"""Decoding block by block against diffusers' own decoding."""

import pytest
import torch
from withanyone_pack.tests.pack import add_comfyui
from withanyone_pack.tests.training.rooms import add_training

add_comfyui()
add_training()
from diffusers import AutoencoderKL

from training.base.flux1 import LatentScale
from training.losses.decode import _blocks, decoded

SCALE = LatentScale(0.5, 0.25)


def vae(post_quant=False):
    torch.manual_seed(0)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 32, 64),
        layers_per_block=2,
        latent_channels=16,
        use_quant_conv=post_quant,
        use_post_quant_conv=post_quant,
    )
    return model.eval().requires_grad_(False)


def latent():
    return torch.randn(2, 16, 5, 7, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize("post_quant", [False, True])
def test_pixels_and_gradients_are_those_of_the_whole_decoder(post_quant):
    model, ours, theirs = vae(post_quant), latent(), latent()
    found = decoded(model, ours, SCALE)
    expected = 127.5 * (model.decode(theirs / 0.5 + 0.25).sample + 1)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    assert torch.equal(found, expected)
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6 * theirs.grad.abs().max().item())


def kept(run, start):
    """Bytes that are saved for the backward pass, each storage once and weights not, and what is made."""
    saved = {}

    def pack(tensor):
        if tensor.requires_grad or not isinstance(tensor, torch.nn.Parameter):
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        made = run(start)
    return sum(saved.values()), made


def test_nothing_but_the_inputs_of_blocks_is_kept():
    model, start = vae(), latent()
    inputs, values = 0, SCALE.out_of_model(start)
    for block in _blocks(model):
        inputs, values = inputs + values.nbytes, block(values)
    assert kept(lambda given: decoded(model, given, SCALE), start)[0] <= inputs + start.nbytes
    assert inputs < 0.35 * kept(lambda given: model.decode(given).sample, start)[0]


def test_the_backward_pass_holds_one_block_beside_the_inputs():
    """The most that is saved at a time, when the block that keeps most inside is computed again."""
    model, values = vae(), latent()
    whole = kept(lambda given: model.decode(given).sample, values)[0]
    inputs, insides = [], []
    for block in _blocks(model):
        inputs.append(values.nbytes)
        inside, made = kept(block, values)
        insides.append(inside)
        values = made.detach().requires_grad_()
    assert len(insides) > 15
    assert max(insides) < 0.2 * whole
    assert sum(inputs) + max(insides) < 0.5 * whole


def test_without_gradients_nothing_is_recomputed():
    with torch.no_grad():
        found = decoded(vae(), latent(), SCALE)
    assert not found.requires_grad
    assert found.shape == (2, 3, 20, 28)
