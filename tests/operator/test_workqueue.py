"""The queue's promises: per key one at a time, nothing lost, failures back off, one wake-up per key."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from dspy_operator.workqueue import WorkQueue
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

KEYS = st.integers(0, 4)


@given(st.lists(KEYS, max_size=60), st.integers(1, 8))
async def test_every_key_is_worked_on_and_never_twice_at_once(added: list[int], workers: int) -> None:
    queue: WorkQueue[int] = WorkQueue()
    running: Counter[int] = Counter()
    seen: set[int] = set()

    async def reconcile(key: int) -> None:
        running[key] += 1
        assert running[key] == 1
        await asyncio.sleep(0)
        running[key] -= 1
        seen.add(key)

    def on_error(key: int, error: Exception) -> None:
        raise AssertionError(f"{key}: {error}")

    tasks = [asyncio.create_task(queue.work(reconcile, on_error)) for _ in range(workers)]
    for key in added:
        await queue.add(key)
        await asyncio.sleep(0)
    while seen != set(added) or len(queue) or +running:
        await asyncio.sleep(0)
    await end(tasks)


async def test_what_arrives_during_work_runs_once_more() -> None:
    queue: WorkQueue[str] = WorkQueue()
    await queue.add("a")
    assert await queue.get() == "a"
    for _ in range(3):
        await queue.add("a")
    assert len(queue) == 0
    await queue.done("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    await queue.done("a")
    assert len(queue) == 0


async def test_failures_back_off_and_success_forgets_them() -> None:
    now = 0.0
    queue: WorkQueue[str] = WorkQueue(base_s=1.0, cap_s=5.0, clock=lambda: now)
    for expected in (1.0, 2.0, 4.0, 5.0, 5.0):
        await fail(queue)
        now += expected - 0.01
        assert queue.pop_due() == []
        now += 0.02
        assert queue.pop_due() == ["a"]
    await queue.add("a")
    await queue.done(await queue.get())
    await fail(queue)
    now += 1.01
    assert queue.pop_due() == ["a"]


async def test_an_error_may_ask_for_a_longer_pause() -> None:
    class BusyError(Exception):
        retry_after_s = 30.0

    now = 0.0
    queue: WorkQueue[str] = WorkQueue(base_s=1.0, clock=lambda: now)
    failed = asyncio.Event()

    async def reconcile(key: str) -> None:
        raise BusyError

    tasks = [asyncio.create_task(queue.work(reconcile, lambda _key, _error: failed.set()))]
    await queue.add("a")
    await failed.wait()
    while queue.delayed == 0:
        await asyncio.sleep(0)
    now = 29.0
    assert queue.pop_due() == []
    now = 30.1
    assert queue.pop_due() == ["a"]
    await end(tasks)


async def test_the_latest_pass_decides_the_wake_up() -> None:
    now = 0.0
    queue: WorkQueue[str] = WorkQueue(clock=lambda: now)
    for after_s in (5.0, 100.0):
        await queue.add("a")
        await queue.done(await queue.get(), after_s=after_s)
    now = 50.0
    assert queue.pop_due() == []
    await queue.add("a")
    await queue.done(await queue.get(), after_s=None)
    now = 1000.0
    assert queue.pop_due() == []


async def test_time_keeper_wakes_keys() -> None:
    queue: WorkQueue[str] = WorkQueue()
    keeper = asyncio.create_task(queue.keep_time())
    await queue.add("a")
    await queue.done(await queue.get(), after_s=0.01)
    assert await queue.get() == "a"
    await end([keeper])


async def test_the_second_lane_waits_but_never_starves() -> None:
    queue: WorkQueue[int] = WorkQueue(in_second_lane=is_odd)
    for key in (1, 3, *range(0, 60, 2)):
        await queue.add(key)
    order = []
    while len(queue):
        order.append(await queue.get())
        await queue.done(order[-1])
    assert [order.index(1), order.index(3)] == [8, 17]
    assert [key for key in order if not is_odd(key)] == list(range(0, 60, 2))


def is_odd(key: int) -> bool:
    return key % 2 == 1


class QueueModel(RuleBasedStateMachine):
    """Against a model: what waits, what is worked on, and when each key is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.loop = asyncio.new_event_loop()
        self.queue: WorkQueue[int] = WorkQueue(clock=lambda: self.now, in_second_lane=is_odd)
        self.waiting: list[int] = []
        self.in_a_row = 0  # of the first lane
        self.working: dict[int, bool] = {}  # key → arrived again meanwhile
        self.due: dict[int, float] = {}

    @rule(key=KEYS)
    def add(self, key: int) -> None:
        self.loop.run_until_complete(self.queue.add(key))
        if key in self.working:
            self.working[key] = True
        elif key not in self.waiting:
            self.waiting.append(key)

    @precondition(lambda self: self.waiting)
    @rule()
    def get(self) -> None:
        key = self.loop.run_until_complete(self.queue.get())
        assert key == self.next_key()
        self.waiting.remove(key)
        self.in_a_row = 0 if is_odd(key) else self.in_a_row + 1
        self.working[key] = False

    def next_key(self) -> int:
        """The first of its lane: the second lane's turn is when the first is empty, and at every ninth key."""
        seconds = [key for key in self.waiting if is_odd(key)]
        firsts = [key for key in self.waiting if not is_odd(key)]
        return seconds[0] if seconds and (not firsts or self.in_a_row >= 8) else firsts[0]

    @precondition(lambda self: self.working)
    @rule(data=st.data(), after_s=st.none() | st.integers(0, 20))
    def done(self, data: st.DataObject, after_s: int | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.loop.run_until_complete(self.queue.done(key, after_s=after_s))
        self.due.pop(key, None)
        if after_s is not None:
            self.due[key] = self.now + after_s
        if self.working.pop(key):
            self.waiting.append(key)

    @rule(seconds=st.integers(0, 10))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        expected = {key for key, at in self.due.items() if at <= self.now}
        assert set(self.queue.pop_due()) == expected
        for key in expected:
            del self.due[key]

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert self.queue.delayed == len(self.due)

    def teardown(self) -> None:
        self.loop.close()


TestQueueModel = QueueModel.TestCase


async def fail(queue: WorkQueue[str]) -> None:
    await queue.add("a")
    await queue.done(await queue.get(), failed=True)


async def end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task
