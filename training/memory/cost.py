"""Time and money of long runs on several devices, by formulas; docs/scale.md shows them with their numbers."""

from dataclasses import dataclass

HOUR = 3600


@dataclass(frozen=True)
class Fleet:
    """Devices that train together.

    count        how many
    rate         floating-point operations a second of large bfloat16 products on one of them
    utilization  fraction of that rate that a training step reaches
    link         bytes a second between two of them, the slowest link counts
    price        of one for an hour
    """

    count: int
    rate: float
    utilization: float
    link: float
    price: float


@dataclass(frozen=True)
class Work:
    """A run.

    samples   in all
    batch     samples of a step, over all devices
    flops     operations of one sample, forward and back
    trained   numbers that are trained; their float32 gradients are summed once a step
    """

    samples: int
    batch: int
    flops: float
    trained: int


def all_reduce_seconds(trained: int, count: int, link: float) -> float:
    """All-reduce of the gradients over a ring: each device sends and receives `2 (n - 1) / n` times their bytes.

    Patarasuk and Yuan, J. Parallel Distrib. Comput. 69 (2009). The loop sums after the last backward pass, so nothing
    of it hides behind computing.
    """
    return 2 * (count - 1) / count * 4 * trained / link


def step_seconds(work: Work, fleet: Fleet) -> float:
    """Computing, then summing."""
    computing = work.batch / fleet.count * work.flops / (fleet.rate * fleet.utilization)
    return computing + all_reduce_seconds(work.trained, fleet.count, fleet.link)


def run_hours(work: Work, fleet: Fleet) -> float:
    return work.samples / work.batch * step_seconds(work, fleet) / HOUR


def run_price(work: Work, fleet: Fleet) -> float:
    return run_hours(work, fleet) * fleet.count * fleet.price


def efficiency(work: Work, fleet: Fleet) -> float:
    """The fraction of a step in which devices compute."""
    return 1 - all_reduce_seconds(work.trained, fleet.count, fleet.link) / step_seconds(work, fleet)
