"""When more training only copies: a judgement over a series of looks, with nothing else read."""

from collections.abc import Sequence
from dataclasses import dataclass

from withanyone_core.tolerance import SLACK

# Copying above the untrained adapter's counts half as much as likeness (specification of the training, 9.7).
COPYING_COSTS = 0.5


@dataclass(frozen=True)
class Look:
    """What held-out previews measured at a step; None where no face was found or nobody judged.

    sim_gt, sim_ref  cosines with the person in the held-out photo and with the reference photo
    copy_paste       -1 (the held-out photo itself) to +1 (the reference itself)
    """

    step: int
    sim_gt: float | None = None
    sim_ref: float | None = None
    copy_paste: float | None = None

    @property
    def is_judged(self) -> bool:
        return self.sim_gt is not None and self.copy_paste is not None


@dataclass(frozen=True)
class Verdict:
    """best_step is None before the first judged look after step 0; `reason` says in words why to stop, or is empty."""

    best_step: int | None
    reason: str = ""

    @property
    def stop(self) -> bool:
        return bool(self.reason)


def score(look: Look, start: Look) -> float:
    """Sim(GT) less the copying that training has added."""
    return look.sim_gt - COPYING_COSTS * max(0.0, look.copy_paste - start.copy_paste)


def verdict(looks: Sequence[Look], rise: float = 0.1, gain: float = 0.01, patience: int = 2) -> Verdict:
    """Whether to stop after the last look, and which checkpoint is best.

    It is time where at each of the last `patience` looks copying lies by more than `rise` above the best look before
    them while Sim(GT) is by less than `gain` above it.
    """
    judged = [look for look in looks if look.is_judged]
    if not judged:
        return Verdict(None)
    start = judged[0]
    trained = [look for look in judged if look.step > 0]
    best = max(trained, key=lambda look: score(look, start), default=None)
    best_step = best.step if best else None
    before, last = judged[:-patience], judged[-patience:]
    if not before or len(last) < patience:
        return Verdict(best_step)
    standard = max(before, key=lambda look: score(look, start))
    copies = all(
        look.copy_paste > standard.copy_paste + rise + SLACK and look.sim_gt < standard.sim_gt + gain - SLACK
        for look in last
    )
    if not copies:
        return Verdict(best_step)
    return Verdict(
        best_step,
        f"copying rose from {standard.copy_paste:.3f} at step {standard.step} to {last[-1].copy_paste:.3f} at step "
        f"{last[-1].step}, while Sim(GT) went from {standard.sim_gt:.3f} to {last[-1].sim_gt:.3f}",
    )
