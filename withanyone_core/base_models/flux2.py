"""FLUX.2: the same architecture with modulation shared by all blocks, no biases and no pooled text (docs/flux2.md)."""

from dataclasses import dataclass

from .base_model import BaseModel, Size


@dataclass(frozen=True)
class LanguageModel:
    """A text encoder: its name, the width of its states, and the layers that a whole one has."""

    name: str
    width: int
    layers: int


# By the published model that reads its states; dev's may be cut after the last layer that is read.
TEXT_ENCODERS = {
    "FLUX.2-klein-4B": LanguageModel("Qwen3-4B", width=2560, layers=36),
    "FLUX.2-klein-9B": LanguageModel("Qwen3-8B", width=4096, layers=36),
    "FLUX.2-dev": LanguageModel("Mistral Small 3", width=5120, layers=40),
}
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
