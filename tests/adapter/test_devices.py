"""Where the adapter's tensors are and in which types, on a device that this machine need not have.

Fake tensors have a device and a type but no data, and refuse a partner on another device as a real GPU does.
"""

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG
from withanyone_pack.tests.host_reads import HostReads
from withanyone_pack.withanyone_core.adapter.attention import IdentityAttention
from withanyone_pack.withanyone_core.adapter.encoder import IdentityEncoder

CUDA = torch.device("cuda", 0)
SHAPES = {"arc": ARC, "sig": SIG}
CELLS, TEXT = 24, 7
REAL = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(params=SHAPES)
def shape(request):
    return SHAPES[request.param]


def embeddings(shape, device, dtype=torch.float32):
    """Of two people: ArcFace, and SigLIP where the branch takes it."""
    arcface = torch.randn(2, shape.embedding, device=device, dtype=dtype)
    siglip = torch.randn(2, 16, shape.siglip_width, device=device, dtype=dtype) if shape.siglip_width else None
    return arcface, siglip


def residual(attention, keys_values, image, counts=(8, 16)):
    return attention(image, counts, keys_values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_on_a_gpu_nothing_meets_a_tensor_of_the_cpu_and_nothing_is_read_back(shape, dtype):
    with FakeTensorMode(), HostReads() as reads:
        encoder, attention = (
            IdentityEncoder(shape, dtype=dtype, device=CUDA),
            IdentityAttention(shape, dtype=dtype, device=CUDA),
        )
        made = encoder(*embeddings(shape, CUDA, dtype))
        image = torch.randn(1, CELLS, shape.hidden, device=CUDA, dtype=dtype)
        for layer, module in enumerate(attention):
            out = residual(module, made[layer].unbind(0), image)
            assert (out.device, out.dtype, out.shape) == (CUDA, dtype, image.shape)
    assert reads.found == []


def test_a_partner_on_the_cpu_is_refused(shape):
    """That the fake device tells at all."""
    with FakeTensorMode():
        attention = IdentityAttention(shape, device=CUDA)[0]
        keys_values = torch.zeros(2, 2, shape.heads, 4, 64)
        with pytest.raises(RuntimeError, match=r"device"):
            residual(attention, keys_values, torch.zeros(1, CELLS, shape.hidden, device=CUDA))


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_reach_every_weight_checkpointed_and_under_autocast(shape, checkpointed, autocast):
    torch.manual_seed(0)
    encoder, attention = IdentityEncoder(shape).to(REAL), IdentityAttention(shape).to(REAL)
    inputs, image = embeddings(shape, REAL), torch.randn(1, CELLS, shape.hidden, device=REAL)

    def whole(image):
        made = encoder(*inputs)
        for layer, module in enumerate(attention):
            image = image + residual(module, made[layer].unbind(0), image)
        return image

    with torch.autocast(REAL.type, torch.bfloat16) if autocast else nullcontext():
        out = checkpoint(whole, image, use_reentrant=False) if checkpointed else whole(image)
    assert (out.device.type, out.dtype) == (REAL.type, torch.float32)
    out.square().mean().backward()
    for name, weight in [*encoder.named_parameters(), *attention.named_parameters()]:
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.dtype == torch.float32, name
