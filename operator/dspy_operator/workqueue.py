"""A deduplicating work queue: per key one at a time, two lanes, failures back off, later visits wait in one heap.

A key is in at most one of three places: waiting its turn, being worked on, or (with a wake-up of its own) neither.
What arrives for a key under work runs once more afterwards, however often it arrived. The queue is therefore bounded by
the number of objects.

What somebody waits for takes the first lane. The second one goes on behind it, at one key in every SECOND_LANE_EVERY.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")

# A reconcile: returns after how many seconds it wants to look again without an event, or None.
Reconcile = Callable[[K], Awaitable[float | None]]
# Told of every failed pass, before its backoff begins.
OnError = Callable[[K, Exception], None]

SECOND_LANE_EVERY = 9


class WorkQueue(Generic[K]):
    """Keys of type K (hashable). `clock` is monotonic seconds; `base_s`, `cap_s` bound the backoff of a failing key."""

    def __init__(
        self,
        *,
        base_s: float = 0.1,
        cap_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        in_second_lane: Callable[[K], bool] = lambda _: False,
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._clock = clock
        self._in_second_lane = in_second_lane
        self._first: deque[K] = deque()
        self._second: deque[K] = deque()
        self._in_a_row = 0  # keys of the first lane since the last one of the second
        self._waiting: set[K] = set()  # what the lanes hold
        self._working: set[K] = set()
        self._again: set[K] = set()  # arrived while being worked on
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}  # the one wake-up that a key may have
        self._heap: list[tuple[float, int, K]] = []  # may hold outdated entries; _due decides
        self._sequence = 0
        self._arrived = asyncio.Condition()
        self._changed = asyncio.Event()  # the heap's head may have moved

    def __len__(self) -> int:
        """How many keys wait their turn."""
        return len(self._waiting)

    @property
    def delayed(self) -> int:
        """How many keys have a wake-up ahead."""
        return len(self._due)

    async def add(self, key: K) -> None:
        """Work on `key` as soon as a worker is free."""
        if key in self._working:
            self._again.add(key)
            return
        if key in self._waiting:
            return
        self._waiting.add(key)
        (self._second if self._in_second_lane(key) else self._first).append(key)
        async with self._arrived:
            self._arrived.notify()

    async def get(self) -> K:
        """The next key. The caller owes a `done` for it."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: bool(self._waiting))
            key = self._pop()
            self._waiting.discard(key)
            self._working.add(key)
            return key

    async def done(self, key: K, *, after_s: float | None = None, failed: bool = False) -> None:
        """End of a pass. Its wake-up replaces any earlier one: every pass reckons all its deadlines afresh."""
        self._working.discard(key)
        if failed:
            self._failures[key] = self._failures.get(key, 0) + 1
            after_s = max(after_s or 0.0, self._backoff_s(key))
        else:
            self._failures.pop(key, None)
        self._wake(key, after_s)
        if key in self._again:
            self._again.discard(key)
            await self.add(key)

    async def work(self, reconcile: Reconcile[K], on_error: OnError[K]) -> None:
        """One worker, for ever. An error of `reconcile` costs that key a delay, never the worker.

        An error that bears `retry_after_s` is left alone at least that long.
        """
        while True:
            key = await self.get()
            after_s: float | None = None
            failed = True
            try:
                after_s = await reconcile(key)
                failed = False
            except Exception as error:  # noqa: BLE001 - on_error records it, the key comes back
                after_s = getattr(error, "retry_after_s", None)
                on_error(key, error)
            finally:
                await self.done(key, after_s=after_s, failed=failed)

    async def keep_time(self) -> None:
        """Moves keys whose time has come into the queue, for ever: one timer for all of them."""
        while True:
            self._changed.clear()
            for key in self.pop_due():
                await self.add(key)
            delay = None if not self._heap else max(0.0, self._heap[0][0] - self._clock())
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def pop_due(self) -> list[K]:
        """Takes out the keys whose time has come, earliest first."""
        now = self._clock()
        due: list[K] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:
                del self._due[key]
                due.append(key)
        return due

    def _pop(self) -> K:
        its_turn = not self._first or self._in_a_row >= SECOND_LANE_EVERY - 1
        if self._second and its_turn:
            self._in_a_row = 0
            return self._second.popleft()
        self._in_a_row += 1
        return self._first.popleft()

    def _wake(self, key: K, after_s: float | None) -> None:
        if after_s is None:
            self._due.pop(key, None)
            return
        at = self._clock() + after_s
        self._due[key] = at
        self._sequence += 1  # keys need not be comparable
        heapq.heappush(self._heap, (at, self._sequence, key))
        self._drop_outdated()
        self._changed.set()

    def _drop_outdated(self) -> None:
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def _backoff_s(self, key: K) -> float:
        exponent = min(self._failures[key] - 1, 32)
        return min(self._cap_s, self._base_s * float(2**exponent))
