"""Batches made ahead: while a pass is computed, a thread makes the batches of the next ones.

A batch follows from its step and its number alone, so a run that was stopped needs nothing of what was made ahead.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")
Turn = tuple[int, int]  # step, pass of the step
DEPTH = 2  # one to be taken, one in the making


class Ahead(Generic[Batch]):
    """Batches by turn; what is taken in order is there already."""

    def __init__(self, make: Callable[[int, int], Batch], following: Callable[[Turn], Turn | None]) -> None:
        """
        make       the batch of a step and a pass, in any thread
        following  the turn after a turn, None after the last
        """
        self._make, self._following = make, following
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        self._made: dict[Turn, Future[Batch]] = {}

    def take(self, step: int, number: int) -> Batch:
        """The batch, made now where it was not expected. Raises whatever making it raises."""
        turn = step, number
        if turn not in self._made:
            self._forget()
            self._made[turn] = self._thread.submit(self._make, *turn)
        taken = self._made.pop(turn)
        self._go_on(turn)
        return taken.result()

    def close(self) -> None:
        self._forget()
        self._thread.shutdown()

    def _go_on(self, turn: Turn) -> None:
        for _ in range(DEPTH):
            turn = self._following(turn)
            if turn is None:
                return
            if turn not in self._made:
                self._made[turn] = self._thread.submit(self._make, *turn)

    def _forget(self) -> None:
        for future in self._made.values():
            future.cancel()
        self._made.clear()
