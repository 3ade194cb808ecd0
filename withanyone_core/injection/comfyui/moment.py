"""Where in the denoising a model call is."""

from functools import cached_property
from typing import Any

from torch import Tensor

from ...timing import Window

# Schedules hit a window's edge only up to rounding; a strict comparison would drop that step.
_SIGMA_TOLERANCE = 1e-4
# 1 / 2^40 of the denoising, which is finer than float32 tells sigmas apart.
_HALVINGS = 40


class Moment:
    """One model call's place in the denoising, read from the live model sampling only where somebody asks.

    sampling  ComfyUI's model sampling: which sigma a percent of the denoising is
    sigmas    of the rows of the call
    schedule  the sigmas of the run, which may be a part of what the user means; None where ComfyUI does not say
    """

    def __init__(self, sampling: Any, sigmas: Tensor, schedule: Tensor | None) -> None:
        self.sampling = sampling
        self.sigmas = sigmas
        self.schedule = schedule

    def is_in(self, window: Window) -> bool:
        # Most windows are always open; reading sigma would make the CPU wait for the device.
        return window.is_always or self._contains(window)

    def position_in(self, window: Window) -> float:
        """0 where the window begins to 1 where it ends, by the part of the denoising that is done.

        From sigma alone, not from the steps of the run: the parts of a run that is cut in two, and a second pass, then
        continue where the one before ended.
        """
        if window.end <= window.start:
            return 0.0
        return min(1.0, max(0.0, (self._percent() - window.start) / (window.end - window.start)))

    # Cached, because .item() makes the CPU wait for the device.
    @cached_property
    def sigma(self) -> float:
        return self.sigmas.max().item()

    def _percent(self) -> float:
        """The percent whose sigma this is; ComfyUI only knows the other direction, which falls."""
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.sampling.percent_to_sigma(middle) > self.sigma:
                low = middle
            else:
                high = middle
        return high

    def _contains(self, window: Window) -> bool:
        slack = _SIGMA_TOLERANCE * self.sigma
        after_start = window.start <= 0.0 or self.sigma <= self.sampling.percent_to_sigma(window.start) + slack
        before_end = window.end >= 1.0 or self.sigma >= self.sampling.percent_to_sigma(window.end) - slack
        return after_start and before_end
