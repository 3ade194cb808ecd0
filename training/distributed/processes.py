"""The processes of a distributed run (DDP), one a device: what they exchange, and how they wait for each other.

What is small travels between the CPUs in a group of its own, so that nobody waits for a device, and who waits for the
main process's previews does not give up. Gradients travel between the devices.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn

# How long the others wait for the main process: generating previews with block swap takes an hour. A process that
# dies is noticed at once all the same, since its connections close.
PATIENCE = timedelta(hours=6)
_BUCKET = 2**24  # numbers sent at a time: enough to keep a link busy, little beside the gradients themselves


class WorkerLostError(RuntimeError):
    """Another process of the run does not answer any more."""


class Processes:
    """All processes of a run as one of them sees them; every method is to be called by all, in the same order.

    Each raises WorkerLostError where another process has gone.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.index, self.count = accelerator.process_index, accelerator.num_processes
        self._group: dist.ProcessGroup | None = None
        if self.count > 1:
            # torch gives a number instead to who is left out of a group, which nobody is of this one.
            self._group = cast("dist.ProcessGroup", dist.new_group(backend="gloo", timeout=PATIENCE))

    @property
    def is_main(self) -> bool:
        """Whether this is the one that validates, logs and writes."""
        return self.index == 0

    def gathered(self, rows: Tensor) -> Tensor:
        """Everybody's rows on the CPU, [n, ...] with any n, in the order of the processes; without gradients."""
        if self.count == 1:
            return rows
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        with _worker_lost_errors():
            dist.all_gather(sizes, torch.tensor([len(rows)]), group=self._group)
        # all_gather takes equal shapes only.
        most = max(map(int, sizes))
        padded = torch.cat([rows.detach(), rows.new_zeros(most - len(rows), *rows.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        with _worker_lost_errors():
            dist.all_gather(parts, padded, group=self._group)
        return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)])

    def summed(self, numbers: Tensor) -> Tensor:
        """The sum over the processes, on the CPU; the same bits everywhere."""
        if self.count == 1:
            return numbers
        total = numbers.clone()
        with _worker_lost_errors():
            dist.all_reduce(total, group=self._group)
        return total

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over the processes; one that nobody has stays None."""
        if self.count == 1:
            return
        # A parameter that none of this process's samples has reached has no gradient here, and all must send the same
        # buffers.
        owners = self.summed(torch.tensor([float(parameter.grad is not None) for parameter in parameters]))
        reached = [parameter for parameter, count in zip(parameters, owners.tolist(), strict=True) if count]
        gradients: list[Tensor] = []
        for parameter in reached:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            with _worker_lost_errors():
                # In the default group, between the devices.
                dist.all_reduce(flat)
            for gradient, part in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def from_main(self, make: Callable[[], Any]) -> Any:
        """What the main process makes, as JSON carries it; the others wait for it."""
        if self.count == 1:
            return make()
        content = json.dumps(make()).encode() if self.is_main else b""
        size = torch.tensor([len(content)])
        with _worker_lost_errors():
            dist.broadcast(size, src=0, group=self._group)
        # A bytearray, because torch wants memory that it may write to.
        held = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(int(size)).byte()
        with _worker_lost_errors():
            dist.broadcast(held, src=0, group=self._group)
        return json.loads(held.numpy().tobytes())

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.count > 1:
            with _worker_lost_errors():
                dist.barrier(group=self._group)

    def check_alike(self, facts: Mapping[str, Any]) -> None:
        """ValueError where a fact is another here than in the main process."""
        for name, expected in self.from_main(lambda: dict(facts)).items():
            if facts[name] != expected:
                raise ValueError(
                    f"Process {self.index} of {self.count} has {name} {facts[name]}, and the main process {expected}. "
                    "All must be started by the same command and see the same photos, adapter and run folder (out): "
                    "put them where every machine can read them."
                )


def is_worker_lost(error: RuntimeError) -> bool:
    """Whether an error, of any exchange between processes, says that another has gone."""
    # gloo has no exception of its own for this, only these words.
    signs = "closed by peer", "reset by peer", "Broken pipe"
    return isinstance(error, WorkerLostError | dist.DistError) or any(each in str(error) for each in signs)


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in order, so many at a time as are sent together."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        # A gradient larger than a bucket goes alone.
        if bucket and sum(each.numel() for each in bucket) + gradient.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


@contextmanager
def _worker_lost_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's, and NCCL's DistBackendError
        raise WorkerLostError(str(error).splitlines()[0]) from error
