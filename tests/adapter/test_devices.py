"""The adapter's gradients on a CUDA device where there is one, checkpointed and under autocast too."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from withanyone_pack.tests.adapter.random_adapter import ARC, SIG
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


def residual(attention, keys_values, image, counts=(8, 16)):
    return attention(image, counts, keys_values)


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
