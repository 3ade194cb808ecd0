"""FLUX.2: the same architecture with modulation shared by all blocks, no biases and no pooled text (docs/flux2.md)."""

from .base_model import BaseModel, Size

# Beyond so many tokens the number of steps no longer matters.
_LARGE_TOKENS = 4300


def _mu(tokens: int, steps: int) -> float:
    """The published fit: a line over tokens at 10 steps, another at 200, and a line over steps between them."""
    at_200 = 0.00016927 * tokens + 0.45666666
    if tokens > _LARGE_TOKENS:
        return at_200
    at_10 = 8.73809524e-05 * tokens + 1.89833333
    slope = (at_200 - at_10) / 190
    return at_200 + slope * (steps - 200)


FLUX_2 = BaseModel(
    name="flux.2",
    label="FLUX.2",
    sizes={
        "FLUX.2-klein-4B": Size(double_blocks=5, single_blocks=20, width=3072),
        "FLUX.2-klein-9B": Size(double_blocks=8, single_blocks=24, width=4096),
        "FLUX.2-dev": Size(double_blocks=8, single_blocks=48, width=6144),
    },
    token_px=16,
    vae_px=8,
    only_here=("double_stream_modulation_img",),
    mu=_mu,
    # A reference is one more image to look at, in every FLUX.2; none of its adapters edits.
    edits_by_reference=False,
    licence="klein-4B Apache-2.0; klein-9B and dev FLUX Non-Commercial License",
)
