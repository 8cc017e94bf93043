"""TrainingJob against a model: whatever happens in whatever order, no run begins anew in silence.

The cluster and the orchestrator are in memory, and the clock is turned by hand.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from datetime import timedelta
from pathlib import Path

from dspy_operator import errors, names
from dspy_operator.names import Key
from dspy_operator.reconcile import trainingjob
from dspy_operator.reconcile.context import Context
from dspy_operator.status.conditions import find, is_true
from dspy_operator.store import Object, Store
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.operator import builders
from tests.operator.fake_agents import FakeAgents
from tests.operator.fake_cluster import FakeCluster

KEY = Key(names.TRAINING_JOBS, "team", "rank")
BACKOFF_LIMIT = 2
JOB = {
    "backend": "Slurm",
    "policy": {"ranker": {}},
    "environment": {"tasks": {"generator": {"name": "points"}}},
    "trainer": {"command": ["train"]},
    "slurm": {},
    "backoffLimit": BACKOFF_LIMIT,
}
OVER = ("Succeeded", "Failed", "Cancelled", "Dead")


class TasksInMemory:
    """Implements reconcile.context.TaskQueue."""

    def __init__(self) -> None:
        self.tasks: list[Object] = []
        self.specs: list[Object] = []
        self.logs: list[str] = []
        self.deaf, self.lines, self.unanswered = 0, 1, 0
        self.deathless = False

    async def submit(self, task: Object) -> str:
        for index, known in enumerate(self.specs):
            if known["idempotency_key"] == task["idempotency_key"]:
                assert known == task, "the same attempt is another task"
                return self.answer(index)
        assert all(each["state"] in OVER for each in self.tasks), "two runs at once"
        self.specs.append(task)
        self.tasks.append({"id": str(len(self.tasks)), "state": "Queued"})
        self.logs.append("")
        return self.answer(len(self.tasks) - 1)

    def answer(self, index: int) -> str:
        if self.unanswered:
            self.unanswered -= 1
            raise errors.ServiceUnavailableError("no answer in time")
        return str(index)

    async def get(self, task_id: str) -> Object | None:
        return dict(self.tasks[int(task_id)])

    async def cancel(self, task_id: str) -> Object | None:
        task = self.tasks[int(task_id)]
        if task["state"] not in OVER and not self.deathless:
            task["state"] = "Cancelled"
        return dict(task)

    async def log(self, task_id: str, position: str) -> tuple[str, str]:
        """A few lines at each look, as of a log that is longer than a look takes in."""
        if self.deaf:
            self.deaf -= 1
            raise errors.ServiceUnavailableError("429")
        begin = int(position or 0)
        lines = self.logs[int(task_id)][begin:].splitlines(keepends=True)
        text = "".join(lines[: self.lines])
        return text, str(begin + len(text))


async def wake(key: names.Key) -> None:
    """Nothing but the job is looked at here."""


class World:
    """One TrainingJob and the operator that serves it."""

    def __init__(self, folder: Path) -> None:
        self.time = builders.START
        self.queue = TasksInMemory()
        self.cluster = FakeCluster()
        self.made = builders.settings(folder / "token", retry_seconds=1.0)
        self.step = 0
        self.announced = 0
        self.restart(builders.owner("rank", **JOB))

    def restart(self, seen: Object) -> None:
        """A new process that knows what the cluster has."""
        self.ctx = Context(
            self.made, self.cluster, FakeAgents(), Store(), lambda: self.time, wake, task_queue=self.queue
        )
        self.ctx.store.put(names.TRAINING_JOBS, seen)

    def job(self) -> Object:
        seen = self.ctx.store.get(KEY)
        assert seen is not None
        return seen

    def passes(self, count: int, seconds: float) -> None:
        for _ in range(count):
            before = self.checkpoint()
            asyncio.run(trainingjob.reconcile(self.ctx, KEY))
            assert self.checkpoint() >= before, "the newest checkpoint went back"
            self.time += timedelta(seconds=seconds)

    def checkpoint(self) -> int:
        """The step that a next run would resume at."""
        step: int = self.job()["status"].get("checkpoint", {}).get("step", 0)
        return step

    def happen(self, event: str) -> None:
        newest = self.queue.tasks[-1] if self.queue.tasks else None
        alive = newest is not None and newest["state"] not in OVER
        job_id = 100 + len(self.queue.tasks)
        if event in ("suspend", "resume"):
            self.job()["spec"]["suspend"] = event == "suspend"
        elif event == "restart":
            self.restart(self.job())
        elif event == "edit":
            self.job()["spec"]["budget"] = {"steps": len(self.cluster.statuses) + 1}
        elif event == "unanswered":
            self.queue.unanswered = 2
        elif event == "deaf":
            self.queue.deaf = 3
        elif event == "pass":
            self.passes(1, 1)
        elif event == "settle":
            self.passes(8, 6)
        elif newest is not None and alive:
            self.happen_to_a_run(event, newest, job_id)

    def happen_to_a_run(self, event: str, newest: Object, job_id: int) -> None:
        began = {"place": f"slurm job {job_id}", "started_at": self.time.isoformat()}
        if event == "begin" and newest["state"] == "Running":
            return
        if event in ("begin", "begin again"):
            self.step = int(self.queue.specs[-1]["env"].get("DSPY_TRAINING_RESUME_STEP", 0))
        if event == "begin":
            newest.update(state="Running", **began)
        elif event == "begin again":
            newest.update(state="Running", **{**began, "place": f"slurm job {job_id + 500}"})
        elif newest["state"] != "Running":
            return
        elif event == "checkpoint":
            self.step += 1
            self.announced = max(self.announced, self.step)
            told = {"dspy": "checkpoint", "step": self.step, "uri": f"s3://b/{self.step}"}
            self.queue.logs[-1] += json.dumps(told) + "\n"
        elif event == "succeed":
            newest.update(state="Succeeded", result={"exit_code": 0, "slurm": {"job_id": job_id}})
        elif event == "fail":
            slurm = {"job_id": job_id, "state": "FAILED"}
            newest.update(state="Failed", result={"exit_code": 1, "reason": "NonZeroExit", "slurm": slurm})
        elif event == "lose":
            lost = {key: newest[key] for key in ("place", "started_at")}
            error = {"code": "SlurmNodeFailed", "message": "Slurm lost the job"}
            newest.update(state="Queued", place="", history=[{**lost, "error": error}], error=error)


EVENTS = (
    "begin",
    "begin again",
    "checkpoint",
    "deaf",
    "edit",
    "unanswered",
    "succeed",
    "fail",
    "lose",
    "suspend",
    "resume",
    "restart",
    "pass",
    "settle",
)


@settings(max_examples=150, deadline=None)
@example(["unanswered", "pass", "edit", "restart", "suspend", "settle", "resume", "settle"])
@example(["begin", "checkpoint", "checkpoint", "checkpoint", "deaf", "succeed"])
@example(["begin", "checkpoint", "checkpoint", "settle", "begin again", "checkpoint", "pass"])
@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_no_run_begins_anew_in_silence(events: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for event in ("pass", *events) if events[:1] != ["unanswered"] else events:
            world.happen(event)
        world.happen("resume")
        world.passes(40, 6)
    began = False
    for spec, task in zip(world.queue.specs, world.queue.tasks, strict=True):
        assert not began or "DSPY_TRAINING_RESUME_FROM" in spec["env"]
        began = began or "started_at" in task
    steps = [int(spec["env"].get("DSPY_TRAINING_RESUME_STEP", 0)) for spec in world.queue.specs]
    assert steps == sorted(steps), "a run resumed before where an earlier one did"
    job = world.job()
    assert job["status"].get("failures", 0) <= BACKOFF_LIMIT + 1
    alive = world.queue.tasks[-1]["state"] not in OVER
    complete = is_true(job, "Complete")
    assert [alive, is_true(job, "Failed"), complete].count(True) == 1, (
        "a job that has no run and no end hangs"
    )
    if complete:
        assert world.checkpoint() == world.announced, "a checkpoint in the log was missed"
    if is_true(job, "Failed"):
        told = find(job, "Failed")
        assert told is not None
        assert told["message"]


def test_a_job_whose_submission_was_not_answered_is_cancelled_with_its_object(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.happen("unanswered")
    world.passes(1, 1)
    assert is_true(world.job(), "Stalled")
    world.job()["metadata"]["deletionTimestamp"] = world.time.isoformat()
    world.happen("edit")
    world.passes(3, 2)
    assert world.queue.tasks[0]["state"] == "Cancelled"


def test_a_job_that_ended_may_go_without_us_and_an_edit_of_it_is_seen(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.passes(1, 1)
    world.happen("begin")
    assert world.job()["metadata"]["finalizers"]
    world.happen("succeed")
    world.passes(2, 1)
    assert is_true(world.job(), "Complete")
    assert world.job()["metadata"]["finalizers"] == []
    world.job()["metadata"]["generation"] = 2
    world.passes(1, 1)
    assert world.job()["status"]["observedGeneration"] == 2


def test_a_run_that_does_not_end_is_told_of(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.passes(1, 1)
    world.happen("begin")
    world.happen("checkpoint")
    world.queue.deathless = True
    world.passes(2, 6)
    world.happen("suspend")
    world.passes(20, 6)
    told = find(world.job(), "Stalled")
    assert told is not None
    assert told["reason"] == "RunDoesNotEnd"
    world.queue.deathless = False
    world.passes(4, 6)
    assert is_true(world.job(), "Suspended")


def test_a_deadline_counts_from_the_jobs_first_start(tmp_path: Path) -> None:
    """An orchestrator that restarts takes the job up as an attempt of its own, with a start of its own."""
    world = World(tmp_path)
    world.job()["spec"]["activeDeadlineSeconds"] = 60
    world.passes(1, 1)
    assert world.queue.specs[0]["timeout_ms"] > 60_000, "the operator ends it, for the right reason"
    world.happen("begin")
    for _ in range(7):
        world.passes(1, 10)
        world.queue.tasks[0]["started_at"] = world.time.isoformat()
    world.passes(2, 1)
    told = find(world.job(), "Failed")
    assert told is not None
    assert told["reason"] == "DeadlineExceeded"
    assert world.queue.tasks[0]["state"] == "Cancelled"


def test_a_chatty_trainer_costs_a_write_each_five_seconds(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.queue.lines = 1000
    world.passes(1, 1)
    world.happen("begin")
    world.passes(2, 1)
    before = len(world.cluster.statuses)
    for step in range(300):
        world.queue.logs[-1] += json.dumps({"dspy": "progress", "step": step}) + "\n"
        world.passes(1, 0.1)
    assert len(world.cluster.statuses) - before <= 6
    assert world.job()["status"]["progress"]["step"] > 200
