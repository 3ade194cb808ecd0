"""Devices and types of the adapter: on a CUDA device where there is one, and as if on one everywhere else."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG
from withanyone_pack.tests.device_tensors import OnDevice, move
from withanyone_pack.tests.host_reads import HostReads
from withanyone_pack.withanyone_core.adapter.attention import IdentityAttention
from withanyone_pack.withanyone_core.adapter.encoder import IdentityEncoder

SHAPES = {"arc": ARC, "sig": SIG}
CELLS = 24
REAL = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(params=SHAPES)
def shape(request):
    return SHAPES[request.param]


def embeddings(shape, device):
    """Of two people: ArcFace, and SigLIP where the branch takes it."""
    arcface = torch.randn(2, shape.embedding, device=device)
    siglip = torch.randn(2, 16, shape.siglip_width, device=device) if shape.siglip_width else None
    return arcface, siglip


def residual(attention, keys_values, image):
    """The first person's tokens are seen by the first eight cells, the second's by the others."""
    people, tokens = len(keys_values), keys_values.shape[3]
    joined = keys_values.transpose(0, 1).transpose(1, 2).flatten(2, 3)[None]
    seen = torch.arange(people, device=image.device).repeat_interleave(tokens)
    places = (torch.arange(image.shape[1], device=image.device) >= 8).long()
    return attention.per_sample(image, joined, (places[:, None] == seen)[None])


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_reach_every_weight_checkpointed_and_under_autocast(shape, checkpointed, autocast):
    torch.manual_seed(0)
    encoder, attention = IdentityEncoder(shape).to(REAL), IdentityAttention(shape).to(REAL)
    inputs, image = embeddings(shape, REAL), torch.randn(1, CELLS, shape.hidden, device=REAL)

    def whole(image):
        made = encoder(*inputs)
        for layer, module in enumerate(attention):
            image = image + residual(module, made[layer], image)
        return image

    with torch.autocast(REAL.type, torch.bfloat16) if autocast else nullcontext():
        out = checkpoint(whole, image, use_reentrant=False) if checkpointed else whole(image)
    assert (out.device.type, out.dtype) == (REAL.type, torch.float32)
    out.square().mean().backward()
    for name, weight in [*encoder.named_parameters(), *attention.named_parameters()]:
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.dtype == torch.float32, name


@pytest.fixture
def mixed():
    OnDevice.mixed.clear()
    yield OnDevice.mixed
    OnDevice.mixed.clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_on_a_device_nothing_meets_a_tensor_of_the_cpu_or_another_type(shape, dtype, mixed):
    torch.manual_seed(0)
    encoder, attention = move(IdentityEncoder(shape, dtype=dtype)), move(IdentityAttention(shape, dtype=dtype))
    inputs = [None if value is None else OnDevice(value.to(dtype)) for value in embeddings(shape, "cpu")]
    image, seen = OnDevice(torch.randn(1, CELLS, shape.hidden, dtype=dtype)), OnDevice(seen_by(2 * CELLS))
    with HostReads() as reads:
        made = encoder(*inputs)
        for layer, module in enumerate(attention):
            keys_values = made[layer].transpose(0, 1).transpose(1, 2).flatten(2, 3)[None]
            out = module.per_sample(image, keys_values, seen[:, :, : keys_values.shape[-2]])
            assert (type(out), out.dtype, out.shape) == (OnDevice, dtype, image.shape)
    assert (reads.found, mixed) == ([], [])


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_on_a_device_gradients_need_nothing_of_the_cpu(shape, checkpointed, autocast):
    torch.manual_seed(0)
    attention = move(IdentityAttention(shape))
    image = OnDevice(torch.randn(1, CELLS, shape.hidden))
    keys_values = OnDevice(torch.randn(1, 2, shape.heads, CELLS, 64))
    seen = OnDevice(seen_by(CELLS))

    def whole(image):
        known = keys_values.to(torch.bfloat16) if autocast else keys_values
        for module in attention:
            image = image + module.per_sample(image, known, seen)
        return image

    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        out = checkpoint(whole, image, use_reentrant=False) if checkpointed else whole(image)
    out.square().mean().backward()
    assert all(type(weight.grad) is OnDevice for weight in attention.parameters())


def test_a_partner_on_the_cpu_is_refused(shape):
    """That the tensors of the device tell at all."""
    attention = move(IdentityAttention(shape))[0]
    image, seen = OnDevice(torch.randn(1, CELLS, shape.hidden)), OnDevice(seen_by(4))
    with pytest.raises(RuntimeError, match=r"a partner of a tensor on the device is on the CPU"):
        attention.per_sample(image, torch.zeros(1, 2, shape.heads, 4, 64), seen)


def seen_by(tokens):
    return torch.ones(1, CELLS, tokens, dtype=torch.bool)
