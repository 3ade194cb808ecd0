"""FLUX.1: the base model of the released adapters."""

from .base_model import BaseModel, Size

_DEV = Size(double_blocks=19, single_blocks=38, width=3072)


def _mu(tokens: int, steps: int) -> float:
    """The line through 0.5 at 256 tokens and 1.15 at 4096, whatever the number of steps."""
    return 0.5 + 0.65 * (tokens - 256) / 3840


FLUX_1 = BaseModel(
    name="flux.1",
    label="FLUX.1",
    sizes={"FLUX.1-dev": _DEV, "FLUX.1-schnell": _DEV, "FLUX.1-Kontext-dev": _DEV},
    token_px=16,
    vae_px=8,
    # The summary of the prompt that CLIP gives.
    only_here=("vector_in", "time_text_embed"),
    mu=_mu,
    edits_by_reference=True,
    licence="FLUX.1 [dev] Non-Commercial License; schnell Apache-2.0",
)
