"""The orchestrator and the shared runners under load: runners come and go, and everything is killed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.kube import Kube
from tests.e2e.marks import in_cluster
from tests.e2e.orchestrator import Orchestrator, Patience, accepted, orchestrator_of, record
from tests.e2e.release import crash, crash_pod, recovered, workload

pytestmark = in_cluster(300)

TASKS = 10_000
RUNNERS = "app.kubernetes.io/component=runners"
SAMPLE = 20  # every so many-th result is read
# A folder of a runner's that outlives its container. Each run leaves a line with the task's number there.
SHARED = "/workspace"
COMMAND = f'echo "$0" >> "{SHARED}/$1"; echo "$0 $DSPY_FENCING_TOKEN"'


@pytest.fixture(scope="module")
def orchestrator(release: Kube) -> Iterator[Orchestrator]:
    with orchestrator_of(release) as client:
        yield client


def scale(release: Kube, orchestrator: Orchestrator, replicas: int) -> None:
    """Give the runners' Deployment so many pods, and wait until the orchestrator knows of just these."""
    release.run("scale", workload(release, "deployment", "runners"), f"--replicas={replicas}")
    patience = Patience(f"{replicas} runners")
    while (healthy := orchestrator.metric("dspy_orchestrator_healthy_runners")) != replicas:
        patience.use(f"the orchestrator knows {healthy}")


@contextmanager
def scaled(release: Kube, orchestrator: Orchestrator, replicas: int) -> Iterator[None]:
    scale(release, orchestrator, replicas)
    try:
        yield
    finally:
        scale(release, orchestrator, 1)


@contextmanager
def shared_folder(release: Kube) -> Iterator[None]:
    """Commands may write to a folder of their runner's; otherwise each has only one of its own, which goes with it."""
    deployment = workload(release, "deployment", "runners")
    release.run("set", "env", deployment, f"RUNNER_WRITABLE={SHARED}")
    recovered(release, "runners", "deployment")
    try:
        yield
    finally:
        release.run("set", "env", deployment, "RUNNER_WRITABLE-")
        recovered(release, "runners", "deployment")


def batch(orchestrator: Orchestrator, count: int, script: str) -> tuple[str, list[str]]:
    """Send so many tasks at once, $0 being their number and $1 a name; return their scope, closed, and their ids."""
    scope = orchestrator.submit(scope=True)
    task = {"parent": scope, "max_attempts": 10}
    tasks = [{**task, "argv": ["sh", "-c", script, str(number), f"runs-{scope}"]} for number in range(count)]
    ids = accepted(orchestrator.post("/v1/tasks", {"tasks": tasks}))["ids"]
    record(orchestrator.post(f"/v1/tasks/{scope}/close"))
    return scope, ids


def finished(scope: dict[str, Any]) -> int:
    children: dict[str, int] = scope["children"]
    return children["succeeded"] + children["failed"]


def wait_for(orchestrator: Orchestrator, scope: str, count: int) -> None:
    """Until so many of a scope's children have ended."""
    assert any(finished(seen) >= count for seen in orchestrator.follow(scope)), f"{scope} ended before"


def test_runners_that_come_and_go_are_noticed_and_lose_nothing(
    release: Kube, orchestrator: Orchestrator
) -> None:
    with scaled(release, orchestrator, 2):
        scope, ids = batch(orchestrator, 400, "sleep 0.05")
        wait_for(orchestrator, scope, 100)
        both = {task["place"] for task in orchestrator.list(parent=scope) if task["state"] == "Succeeded"}
        assert len(both) == 2
    assert orchestrator.ended(scope)["children"] == {"open": 0, "succeeded": len(ids), "failed": 0}


def test_ten_thousand_tasks_end_once_each_whatever_is_killed(
    release: Kube, orchestrator: Orchestrator
) -> None:
    with shared_folder(release), scaled(release, orchestrator, 2):
        scope, ids = batch(orchestrator, TASKS, COMMAND)
        early: dict[str, Any] = {}
        for component, count in (("runners", 1500), ("orchestrator", 3500), ("reddb", 5500)):
            wait_for(orchestrator, scope, count)
            early |= {task["id"]: task for task in orchestrator.list(parent=scope, state="Succeeded")}
            crash(release, component)
        assert_all_succeeded(orchestrator, scope, ids, early)
        assert_results(orchestrator, ids)
        assert_effects(release, {task["id"]: task for task in orchestrator.list(parent=scope)}, ids, scope)


def test_another_replica_leads_soon_after_the_leaders_death(release: Kube) -> None:
    deployment = workload(release, "deployment", "orchestrator")
    release.run("scale", deployment, "--replicas=2")
    recovered(release, "orchestrator", "deployment")
    try:
        with orchestrator_of(release) as orchestrator:
            before = leader(orchestrator)
            pods = release.list("pods", "app.kubernetes.io/component=orchestrator")
            (pod,) = (pod for pod in pods if before["name"].startswith(pod["metadata"]["name"]))
            died = datetime.now(UTC)
            crash_pod(release, pod)
            patience = Patience("who leads")
            while (after := leader(orchestrator))["name"] == before["name"]:
                patience.use(f"{after} does")
            assert orchestrator.ended(orchestrator.submit(argv=["true"]))["state"] == "Succeeded"
    finally:
        release.run("scale", deployment, "--replicas=1")
        recovered(release, "orchestrator", "deployment")
    print(f"another led after {datetime.fromisoformat(after['since']) - died}")


def leader(orchestrator: Orchestrator) -> dict[str, Any]:
    """Who leads, by what the leader said last."""
    found: dict[str, Any] = record(orchestrator.get("/v1/queue"))["leader"]
    return found


def assert_all_succeeded(
    orchestrator: Orchestrator, scope: str, ids: list[str], early: dict[str, Any]
) -> None:
    """Every task that was sent, no other, and none of those that had ended before a death has ended again."""
    total = orchestrator.ended(scope)
    others = [task["id"] for task in orchestrator.list(parent=scope) if task["state"] != "Succeeded"]
    assert not others, [orchestrator.task(name) for name in others]
    assert total["state"] == "Succeeded"
    assert total["children"] == {"open": 0, "succeeded": TASKS, "failed": 0}
    listed = list(orchestrator.list(parent=scope))
    assert len(listed) == len(ids) == TASKS
    tasks = {task["id"]: task for task in listed}
    assert tasks.keys() == set(ids)
    assert Counter(task["state"] for task in listed) == {"Succeeded": TASKS}
    assert len(early) > 3000
    assert {name: tasks[name] for name in early} == early
    assert not [task for task in orchestrator.list("/v1/dead-letters") if task.get("parent") == scope]


def assert_results(orchestrator: Orchestrator, ids: list[str]) -> None:
    """What is recorded is each task's own, of the attempt with the highest token."""
    for number in range(0, len(ids), SAMPLE):
        task = orchestrator.task(ids[number])
        tokens = [attempt["token"] for attempt in task["history"]]
        assert task["result"]["stdout"] == f"{number} {max(tokens)}\n"
        assert tokens == sorted(set(tokens))


def assert_effects(release: Kube, tasks: dict[str, Any], ids: list[str], scope: str) -> None:
    """Each task ran where its record says, and no more often than it was attempted."""
    runs: Counter[str] = Counter()
    for pod in release.list("pods", RUNNERS):
        file = release.run(
            "exec", pod["metadata"]["name"], "-c", "runner", "--", "cat", f"{SHARED}/runs-{scope}"
        )
        here = Counter(file.split())
        runs += here
        claimed = {
            str(number) for number, name in enumerate(ids) if host(tasks[name]) == pod["status"]["podIP"]
        }
        assert claimed
        assert claimed <= here.keys()
    assert not [number for number, name in enumerate(ids) if runs[str(number)] > tasks[name]["attempts"]]
    print(f"{runs.total()} runs of {len(ids)} tasks")


def host(task: dict[str, Any]) -> str | None:
    place: str = task["place"]
    return urlsplit(place).hostname
