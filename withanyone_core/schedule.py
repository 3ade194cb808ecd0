"""Sigma schedules (the timesteps of a sampler): a base model's own, and the released program's."""

import math

import torch
from torch import Tensor

from .base_models.base_model import BaseModel
from .base_models.flux1 import FLUX_1
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
    _check_steps(steps)
    if math.isnan(denoise):
        raise ValueError("The denoise is NaN; expected 0 to 1.")
    check_canvas(width_px, height_px)
    tokens = _tokens(width_px, height_px, token_count)
    if denoise <= 0:
        return torch.empty(0)
    total_steps = int(steps / denoise) if denoise < 1 else steps
    mu = FLUX_1.mu(tokens, total_steps)
    return _shifted_grid(total_steps, mu)[-(steps + 1) :]


def base_sigmas(base: BaseModel, steps: int, width_px: int, height_px: int) -> Tensor:
    """Sigmas from 1 to 0 as a base model's own sampler steps through them, float32 [steps + 1] on the CPU.

    ValueError for fewer than one step, or a canvas smaller than an image token.
    """
    _check_steps(steps)
    check_canvas(width_px, height_px)
    return _shifted_grid(steps, base.mu(base.tokens(width_px, height_px), steps))


def shift_sigmas(sigmas: Tensor, mu: float) -> Tensor:
    """Sigmas moved towards noise by exp(mu); 0 and 1 stay what they are.

    Source: FLUX.1's sampler, and FLUX.2's with another mu.
    """
    shift = math.exp(mu)
    # In this order 0 gives 0 and not NaN, and the last bit is the released table's.
    return shift / (shift + (1 / sigmas - 1))


def _shifted_grid(steps: int, mu: float) -> Tensor:
    return shift_sigmas(torch.linspace(1, 0, steps + 1, dtype=torch.float32), mu)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{steps} steps were asked for; expected at least 1.")


def _tokens(width_px: int, height_px: int, token_count: str) -> int:
    """Image tokens as the schedule counts them; the released program counts 1/64 of the true ones, rounded down."""
    if token_count == "as released":
        return (width_px // FLUX_1.vae_px) * (height_px // FLUX_1.vae_px) // 256
    if token_count == "true":
        return FLUX_1.tokens(width_px, height_px)
    raise ValueError(f"The token count '{token_count}' is unknown; expected one of {', '.join(TOKEN_COUNTS)}.")
