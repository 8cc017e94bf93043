"""Which workers an object waits for: training jobs have a few of their own.

A pass of theirs reads from the orchestrator or Ray, which takes seconds, or as long as a timeout where those hang: on
everybody's workers, some dozens of them would keep sessions waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from dspy_operator import names
from dspy_operator.names import Key
from dspy_operator.workqueue import OnError, Reconcile, WorkQueue

TRAINING_WORKERS = 8


class Queues:
    """A queue for training jobs, another one for all other kinds."""

    def __init__(self) -> None:
        self._most: WorkQueue[Key] = WorkQueue(in_second_lane=lambda key: key.plural == names.AGENT_POOLS)
        self._training: WorkQueue[Key] = WorkQueue()

    def __len__(self) -> int:
        """How many keys wait their turn."""
        return len(self._most) + len(self._training)

    @property
    def delayed(self) -> int:
        """How many keys have a wake-up ahead."""
        return self._most.delayed + self._training.delayed

    async def add(self, key: Key) -> None:
        """Work on `key` as soon as a worker of its kind is free."""
        await (self._training if key.plural == names.TRAINING_JOBS else self._most).add(key)

    def clocks(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What moves keys into the queues when their time has come."""
        return [self._most.keep_time, self._training.keep_time]

    def workers(
        self, count: int, reconcile: Reconcile[Key], on_error: OnError[Key]
    ) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """`count` workers, each to be run for ever, and those of training."""
        return [
            *(lambda: self._most.work(reconcile, on_error) for _ in range(count)),
            *(lambda: self._training.work(reconcile, on_error) for _ in range(TRAINING_WORKERS)),
        ]
