"""The sigma schedule of the released program (timesteps of its sampler), which is not ComfyUI's default for Flux."""

import math

import torch
from torch import Tensor

from .canvas import check_canvas

TOKEN_COUNTS = ("as released", "true")


def released_sigmas(
    steps: int, width_px: int, height_px: int, denoise: float = 1.0, token_count: str = "as released"
) -> Tensor:
    """Sigmas from 1 to 0, float32 [steps + 1] on the CPU: a linear grid shifted towards noise by the image size.

    With denoise below 1 the last steps + 1 of a proportionally longer schedule, empty at 0, like ComfyUI's
    BasicScheduler. Source: released program; its shift formula is FLUX.1's. ValueError for fewer than one step, a
    canvas under 16 x 16 pixels, a denoise that is NaN, or an unknown way to count tokens.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps were asked for; expected at least 1.")
    if math.isnan(denoise):
        raise ValueError("The denoise is NaN; expected 0 to 1.")
    check_canvas(width_px, height_px)
    shift = math.exp(_mu(_tokens(width_px, height_px, token_count)))
    if denoise <= 0:
        return torch.empty(0)
    total_steps = int(steps / denoise) if denoise < 1 else steps
    grid = torch.linspace(1, 0, total_steps + 1, dtype=torch.float32)
    sigmas = shift / (shift + (1 / grid - 1))  # at 0 the division gives infinity, and the sigma its exact 0
    return sigmas[-(steps + 1) :]


def _tokens(width_px: int, height_px: int, token_count: str) -> int:
    """Image tokens as the schedule counts them; the released program counts 1/64 of the true ones, rounded down."""
    if token_count == "as released":
        return (width_px // 8) * (height_px // 8) // 256
    if token_count == "true":
        return (width_px // 16) * (height_px // 16)
    raise ValueError(f"The token count '{token_count}' is unknown; expected one of {', '.join(TOKEN_COUNTS)}.")


def _mu(tokens: int) -> float:
    """FLUX.1's line through mu = 0.5 at 256 tokens and 1.15 at 4096."""
    slope = (1.15 - 0.5) / (4096 - 256)
    return 0.5 + slope * (tokens - 256)
