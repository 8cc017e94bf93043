"""A task with many runs against a model: any order of events, restarts and failures ends in what the commands did.

The cluster is one in memory, time is turned by hand, and everything else is the operator's own code. What the model
keeps is what the world outside would see: which commands ended how.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from datetime import timedelta
from pathlib import Path

import hypothesis.strategies as st
from dspy_operator import errors, names
from dspy_operator.names import Key
from dspy_operator.reconcile import envtask
from dspy_operator.status import ledger as ledgers
from dspy_operator.status import pods
from dspy_operator.status.conditions import is_true
from dspy_operator.status.indexes import compress, expand
from dspy_operator.store import PODS, Object
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.operator import builders
from tests.operator.fake_kubelet import ended_at, pod_condition, result, running, terminated
from tests.operator.world import World

TASK = Key(names.ENV_TASKS, "team", "run")
PASSES = 400


@given(st.sets(st.integers(0, 300)))
def test_indexes_survive_their_text(indexes: set[int]) -> None:
    assert expand(compress(indexes)) == indexes


def test_neighbours_make_a_range() -> None:
    assert compress({0, 1, 2, 4, 7, 8}) == "0-2,4,7-8"


class Batch(RuleBasedStateMachine):
    """One task, its pods' ends in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self._folder.name))
        self.world.cluster.graceful = True
        self.succeeded: set[int] = (
            set()
        )  # runs of which an attempt's end was shown to the operator as a success
        self.failures: dict[int, int] = {}  # attempts by run that were shown as failed
        self.ended: set[str] = set()

    def teardown(self) -> None:
        self._folder.cleanup()

    @initialize(completions=st.integers(2, 6), parallelism=st.integers(1, 4), backoff=st.integers(0, 2))
    def create(self, completions: int, parallelism: int, backoff: int) -> None:
        task = builders.owner(
            "run", command=["true"], completions=completions, parallelism=parallelism, backoffLimit=backoff
        )
        self.world.ctx.store.put(names.ENV_TASKS, task)

    @rule()
    def look(self) -> None:
        self._pass()

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.world.time += timedelta(seconds=seconds)
        self._pass()

    @precondition(lambda self: self._alive())
    @rule(data=st.data(), exit_code=st.sampled_from([0, 0, 3]))
    def end(self, data: st.DataObject, exit_code: int) -> None:
        """A command ends, and the watch shows it."""
        name = data.draw(st.sampled_from(self._alive()))
        pod = self.world.cluster.pods[name]
        index = pods.index_of(pod)
        given_back = ledgers.read(self._task()).knows_end_of(index, pods.attempt_of(pod))
        report = result() if exit_code == 0 else result(exit_code=exit_code, reason="NonZeroExit")
        status = terminated("task", exit_code, json.dumps(report))
        self._show(name, phase="Failed" if exit_code else "Succeeded", status=self._at_now(status))
        self.ended.add(name)
        if given_back:
            return  # at the user's wish, while its pod could not be deleted: it counts as nothing
        if exit_code == 0:
            self.succeeded.add(index)
        else:
            self.failures[index] = self.failures.get(index, 0) + 1

    @precondition(lambda self: self._alive())
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """A command starts."""
        name = data.draw(st.sampled_from(self._alive()))
        self._show(name, phase="Running", status=running("task"))

    @precondition(lambda self: self._recorded())
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """Somebody deletes a pod whose command was running: its run failed."""
        name = data.draw(st.sampled_from(self._recorded()))
        self._show(name, phase="Running", status=running("task"))
        index = pods.index_of(self.world.cluster.pods[name])
        self.world.lose_pod(name)
        self.failures[index] = self.failures.get(index, 0) + 1

    @rule(pods_first=st.booleans())
    def restart(self, pods_first: bool) -> None:
        """The operator is killed; the watch may show the task before its pods."""
        self.world.restart(TASK)
        if pods_first:
            self._show_all()

    @rule(writes=st.integers(0, 4), killed=st.booleans())
    def look_while_the_apiserver_fails(self, writes: int, killed: bool) -> None:
        """A pass is cut off after some writes; the operator may die of it."""
        self.world.cluster.fails_after = writes
        with contextlib.suppress(errors.UnavailableError):
            self._pass()
        self.world.cluster.fails_after = None
        if killed:
            self.world.restart(TASK)

    @precondition(lambda self: self._leaving())
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        """A pod that was asked to go is gone."""
        self._gone(data.draw(st.sampled_from(self._leaving())))

    @rule(parallelism=st.integers(0, 4))
    def resize(self, parallelism: int) -> None:
        self._edit(parallelism=parallelism)

    @rule(suspend=st.booleans())
    def suspend(self, suspend: bool) -> None:
        """What runs is given back, and is nobody's failure."""
        self._edit(suspend=suspend)

    @invariant()
    def never_twice_what_succeeded(self) -> None:
        for name in self.world.cluster.created:
            assert self.world.cluster.created.count(name) == 1

    @invariant()
    def one_attempt_at_a_time(self) -> None:
        at_work = [
            pods.index_of(self.world.cluster.pods[name])
            for name in self.world.cluster.pods
            if name not in self.ended
        ]
        assert len(at_work) == len(set(at_work))

    @invariant()
    def counts_what_ended(self) -> None:
        if self.world.ctx.store.get(TASK) is None:
            return
        status = self.world.status(TASK)
        completed = expand(status.get("completedIndexes", ""))
        assert completed <= self.succeeded
        assert status.get("failed", 0) <= sum(self.failures.values())
        assert not completed & expand(status.get("failedIndexes", ""))

    def finish(self) -> None:
        """Every command that is left ends well, and the status tells exactly what happened."""
        if self.world.ctx.store.get(TASK) is None:
            return
        self._edit(parallelism=3, suspend=False)
        self._show_all()
        limit = self._task()["spec"]["backoffLimit"]
        for _ in range(PASSES):
            self.world.time += timedelta(seconds=1)
            self._pass()
            for name in self._leaving():
                self._gone(name)
            if is_true(self._task(), "Complete") or is_true(self._task(), "Failed"):
                break
            for name in self._alive():
                index = pods.index_of(self.world.cluster.pods[name])
                self._show(name, phase="Succeeded", status=terminated("task", 0, json.dumps(result())))
                self.succeeded.add(index)
                self.ended.add(name)
        status = self.world.status(TASK)
        failed = {index for index, count in self.failures.items() if count > limit}
        assert expand(status.get("failedIndexes", "")) == failed
        completions = self._task()["spec"]["completions"]
        assert expand(status.get("completedIndexes", "")) == set(range(completions)) - failed
        assert is_true(self._task(), "Failed" if failed else "Complete")
        assert status["failed"] == sum(self.failures.values())
        assert status["attempts"] == len(self.world.cluster.created)
        self._pass()
        for name in self._leaving():
            self._gone(name)
        assert self.world.cluster.pods == {}

    def _pass(self) -> None:
        try:
            asyncio.run(envtask.reconcile(self.world.ctx, TASK))
        finally:
            for name in self._leaving():
                self.world.watch_pod(name)

    def _task(self) -> Object:
        return self.world.seen(TASK)

    def _alive(self) -> list[str]:
        """Pods whose command may still begin, or go on."""
        return [name for name in self.world.cluster.pods if name not in {*self.ended, *self._leaving()}]

    def _show_all(self) -> None:
        """The watch catches up."""
        for pod in self.world.cluster.pods.values():
            self.world.ctx.store.put(PODS, pod)

    def _leaving(self) -> list[str]:
        return [
            name for name, pod in self.world.cluster.pods.items() if "deletionTimestamp" in pod["metadata"]
        ]

    def _gone(self, name: str) -> None:
        self.world.lose_pod(name)

    def _recorded(self) -> list[str]:
        """Of those the ones whose start the status tells: see the docstring of reconcile/batch.py."""
        ledger = ledgers.read(self._task())
        found = []
        for name in self._alive():
            pod = self.world.cluster.pods[name]
            run = ledger.open_run(pods.index_of(pod))
            if run is not None and run.ended < pods.attempt_of(pod) <= run.started:
                found.append(name)
        return found

    def _edit(self, **spec: int) -> None:
        """The user changes the spec."""
        task = self._task()
        self.world.ctx.store.put(
            names.ENV_TASKS,
            {**task, "metadata": self._newer(task["metadata"]), "spec": {**task["spec"], **spec}},
        )

    def _newer(self, metadata: Object) -> Object:
        return {**metadata, "resourceVersion": str(next(self.world.cluster.versions))}

    def _show(self, name: str, phase: str, status: Object) -> None:
        self.world.cluster.pods[name]["spec"]["nodeName"] = "node-1"
        conditions = [pod_condition("PodScheduled", "True"), pod_condition("Initialized", "True")]
        self.world.watch_pod(name, phase=phase, conditions=conditions, containerStatuses=[status])

    def _at_now(self, status: Object) -> Object:
        return ended_at(self.world.time.strftime("%Y-%m-%dT%H:%M:%SZ"), status)


class FinishedBatch(Batch):
    """Each example is led to its end."""

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            super().teardown()


TestBatch = FinishedBatch.TestCase
TestBatch.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
