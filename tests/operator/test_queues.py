"""Who waits for whom."""

from __future__ import annotations

import asyncio

from dspy_operator import names
from dspy_operator.names import Key
from dspy_operator.queues import TRAINING_WORKERS, Queues

from tests.operator.test_workqueue import end


async def test_sessions_do_not_wait_for_training_jobs_whose_backend_hangs() -> None:
    queues, session = Queues(), Key(names.AGENT_SESSIONS, "team", "fix")
    hanging, seen = asyncio.Event(), asyncio.Event()
    stuck: list[Key] = []

    async def reconcile(key: Key) -> None:
        if key == session:
            return seen.set()
        stuck.append(key)
        await hanging.wait()
        return None

    def on_error(key: Key, error: Exception) -> None:
        raise AssertionError(f"{key}: {error}")

    tasks = [asyncio.create_task(worker()) for worker in queues.workers(1, reconcile, on_error)]
    for number in range(TRAINING_WORKERS + 10):
        await queues.add(Key(names.TRAINING_JOBS, "team", f"rank-{number}"))
    while len(stuck) < TRAINING_WORKERS:
        await asyncio.sleep(0)
    await queues.add(session)
    await seen.wait()
    assert len(queues) == 10
    await end(tasks)
