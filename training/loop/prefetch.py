"""Prefetch: while one micro-batch is computed, a thread makes the next ones.

A batch follows from its step and its number alone, so a resumed run needs nothing of what was prefetched.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")
MicroBatch = tuple[int, int]  # step, number within the step
DEPTH = 2  # one ready, one being made


class Prefetcher(Generic[Batch]):
    """Batches by step and micro-batch; those taken in order are ready already."""

    def __init__(self, make: Callable[[int, int], Batch], following: Callable[[MicroBatch], MicroBatch | None]) -> None:
        """
        make       the batch of a step and a micro-batch, in any thread
        following  the micro-batch after another, None after the last
        """
        self._make, self._following = make, following
        # One worker makes them in the order in which they are taken.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._futures: dict[MicroBatch, Future[Batch]] = {}

    def take(self, step: int, number: int) -> Batch:
        """The batch, made now where it was not expected. Raises whatever making it raises."""
        key = step, number
        if key not in self._futures:
            self._cancel()
            self._futures[key] = self._thread.submit(self._make, *key)
        future = self._futures.pop(key)
        # Before the wait, so that the thread does not run idle after this batch.
        self._submit_after(key)
        return future.result()

    def close(self) -> None:
        self._cancel()
        self._thread.shutdown()

    def _submit_after(self, key: MicroBatch) -> None:
        for _ in range(DEPTH):
            following = self._following(key)
            if following is None:
                return
            key = following
            if key not in self._futures:
                self._futures[key] = self._thread.submit(self._make, *key)

    def _cancel(self) -> None:
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()
