"""What a replay found, and how it is printed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Status = Literal["passed", "failed", "skipped", "not applicable"]


@dataclass(frozen=True)
class Outcome:
    """One compared case. `error` is relative to the largest reference value, None where values are compared exactly."""

    case: str
    status: Status
    error: float | None = None
    reason: str = ""


def relative_error(value: Tensor, reference: Tensor) -> float:
    """max|value - reference| / max|reference|; infinite where the shapes differ."""
    if value.shape != reference.shape:
        return float("inf")
    difference = (value.double() - reference.double()).abs().max()
    return (difference / reference.double().abs().max().clamp(min=1e-30)).item()


def within(case: str, value: Tensor, reference: Tensor, gate: float) -> Outcome:
    error = relative_error(value, reference)
    return Outcome(case, "passed" if error <= gate else "failed", error, "" if error <= gate else f"gate {gate:g}")


def exact(case: str, value: object, reference: object) -> Outcome:
    same = value == reference
    return Outcome(case, "passed" if same else "failed", None, "" if same else f"{value!r} instead of {reference!r}")


def not_applicable(case: str, reason: str) -> Outcome:
    return Outcome(case, "not applicable", None, reason)


def skipped(case: str, reason: str) -> Outcome:
    return Outcome(case, "skipped", None, reason)


def print_file(name: str, outcomes: Iterable[Outcome]) -> None:
    outcomes = list(outcomes)
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    compared = [outcome for outcome in outcomes if outcome.status in ("passed", "failed")]
    if errors:
        print(f"{name}: largest relative error {max(errors):.2e} over {len(errors)} cases")
    elif compared:
        wrong = sum(outcome.status == "failed" for outcome in compared)
        print(f"{name}: {len(compared)} exact comparisons, {wrong} differ")
    for outcome in outcomes:
        if outcome.status != "passed":
            print(f"{name}: {outcome.case}: {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else ""))


def print_total(outcomes: Iterable[Outcome]) -> bool:
    """The closing line; True where nothing failed. Cases that do not apply are counted as skipped."""
    statuses = [outcome.status for outcome in outcomes]
    failed = statuses.count("failed")
    idle = statuses.count("skipped") + statuses.count("not applicable")
    print(f"{statuses.count('passed')} passed, {failed} failed, {idle} skipped")
    return failed == 0
