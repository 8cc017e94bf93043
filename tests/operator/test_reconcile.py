"""Reconciles against a cluster in memory: what a real one shows too rarely to wait for."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dspy_operator import errors, names
from dspy_operator.names import Key
from dspy_operator.reconcile import agentsession, envtask
from dspy_operator.reconcile.start import note_loss
from dspy_operator.status.conditions import find
from dspy_operator.store import PODS, Object

from tests.operator import builders
from tests.operator.fake_kubelet import pod_condition, running, waiting
from tests.operator.world import World

SESSION = Key(names.AGENT_SESSIONS, "team", "fix")
TASK = Key(names.ENV_TASKS, "team", "run")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_task_that_is_listed_before_its_pods_is_not_run_again(world: World) -> None:
    """After a restart the watch of tasks came first, the pod looked lost, and the command ran twice."""
    world.ctx.store.put(names.ENV_TASKS, builders.owner("run", command=["true"]))
    await envtask.reconcile(world.ctx, TASK)
    world.restart(TASK)
    await envtask.reconcile(world.ctx, TASK)
    assert world.cluster.created == ["run-1"]
    assert world.status(TASK)["active"] == 1


async def give_up(world: World, **last_seen: object) -> None:
    """Starts a task whose image cannot be pulled, waits its start deadline out, and lets its pod go."""
    world.ctx.store.put(names.ENV_TASKS, builders.owner("run", command=["true"]))
    await envtask.reconcile(world.ctx, TASK)
    pod = copy.deepcopy(world.cluster.pods["run-1"])
    pod["spec"]["nodeName"] = "node-1"
    pod["metadata"]["resourceVersion"] = "1000"
    pod["status"]["containerStatuses"] = [waiting("task", "ImagePullBackOff", "no such image")]
    world.ctx.store.put(PODS, pod)
    world.time += timedelta(seconds=301)
    await envtask.reconcile(world.ctx, TASK)
    assert world.cluster.deleted == ["run-1"]
    assert world.status(TASK)["active"] == 1  # not believed before the pod is gone
    pod["status"].update(last_seen)
    note_loss(world.ctx, pod)
    world.ctx.store.remove(PODS, pod)
    await envtask.reconcile(world.ctx, TASK)


async def test_task_whose_pod_never_started_is_tried_again(world: World) -> None:
    await give_up(world, phase="Failed")
    assert world.status(TASK)["pending"] == 1
    assert "no such image" in str(find({"status": world.status(TASK)}, "Reconciling"))
    world.time += timedelta(seconds=11)
    await envtask.reconcile(world.ctx, TASK)
    assert world.cluster.created == ["run-1", "run-2"]


async def test_task_that_starts_while_it_is_given_up_is_not_run_again(world: World) -> None:
    await give_up(world, containerStatuses=[running("task")])
    assert (world.status(TASK)["phase"], world.status(TASK)["reason"]) == ("Failed", "InfraError")
    assert world.cluster.created == ["run-1"]


async def test_task_whose_pod_was_removed_by_force_is_not_run_again(world: World) -> None:
    """A pod that waited went without its kubelet's word: on a node that was cut off the command may have begun."""
    await give_up(world)
    assert (world.status(TASK)["phase"], world.status(TASK)["reason"]) == ("Failed", "InfraError")
    assert world.cluster.created == ["run-1"]


async def test_task_whose_pod_went_unseen_is_not_run_again(world: World) -> None:
    world.ctx.store.put(names.ENV_TASKS, builders.owner("run", command=["true"]))
    await envtask.reconcile(world.ctx, TASK)
    world.lose_pod("run-1", unseen=True)
    world.restart(TASK)
    await envtask.reconcile(world.ctx, TASK)
    assert "while no operator looked" in world.status(TASK)["message"]
    assert world.cluster.created == ["run-1"]


async def test_session_that_is_listed_before_its_pod_keeps_it(world: World) -> None:
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix"))
    await agentsession.reconcile(world.ctx, SESSION)
    world.restart(SESSION)
    await agentsession.reconcile(world.ctx, SESSION)
    assert world.cluster.created == ["fix"]
    assert len(world.cluster.statuses) == 1


async def get_ready(world: World, **spec: Any) -> None:
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix", **spec))
    await agentsession.reconcile(world.ctx, SESSION)
    world.watch_pod("fix", conditions=[pod_condition("PodScheduled", "True"), pod_condition("Ready", "True")])
    await agentsession.reconcile(world.ctx, SESSION)
    assert world.status(SESSION)["phase"] == "Running"


@pytest.mark.parametrize(
    "spec",
    [{"poolRef": {"name": "warm"}, "pooling": "Never"}, {"envFrom": [{"configMapRef": {"name": "data"}}]}],
    ids=["pool", "config map"],
)
async def test_session_at_work_needs_nothing_that_its_start_needed(world: World, spec: Object) -> None:
    """After a restart a session came before its pod, and was called Stalled for the lack of what only a start needs."""
    pool = builders.owner("warm", template={})
    pool["metadata"]["uid"] = "pool"
    world.ctx.store.put(names.AGENT_POOLS, pool)
    world.cluster.config_maps["data"] = frozenset()
    await get_ready(world, **spec)
    written = len(world.cluster.statuses)
    world.cluster.config_maps.clear()
    world.restart(SESSION)
    await agentsession.reconcile(world.ctx, SESSION)
    assert len(world.cluster.statuses) == written
    assert world.cluster.events == []
    assert world.cluster.created == ["fix"]


async def test_killed_between_the_pod_and_the_status(world: World) -> None:
    for _ in range(2):
        task = builders.owner("run", command=["true"])
        task["metadata"]["uid"] = "of-the-task"
        world.forget()
        world.ctx.store.put(names.ENV_TASKS, task)
        world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix"))
        await envtask.reconcile(world.ctx, TASK)
        await agentsession.reconcile(world.ctx, SESSION)
    assert world.cluster.created == ["run-1", "fix"]
    assert world.status(TASK)["attempts"] == 1


@pytest.mark.parametrize("restarted", [False, True])
async def test_session_gives_up_after_too_many_lost_pods(world: World, *, restarted: bool) -> None:
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix", task={"prompt": "x"}))
    for _ in range(7):
        await agentsession.reconcile(world.ctx, SESSION)
        world.lose_pod("fix")
        world.time += timedelta(minutes=2)
        if restarted:
            world.restart(SESSION)
    await agentsession.reconcile(world.ctx, SESSION)
    finished = find({"status": world.status(SESSION)}, "Finished")
    assert finished is not None
    assert (finished["status"], finished["reason"]) == ("True", "InfraError")
    assert "lost 7 times" in finished["message"]
    assert len(world.cluster.created) == 7


async def test_losses_are_forgiven_after_a_pod_that_lasts(world: World) -> None:
    """Weekly node upgrades ended an interactive session after seven weeks."""
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix"))
    for week in range(9):
        await agentsession.reconcile(world.ctx, SESSION)
        since = world.time.isoformat()
        world.watch_pod("fix", conditions=[{**pod_condition("Ready", "True"), "lastTransitionTime": since}])
        assert await agentsession.reconcile(world.ctx, SESSION) == (600 if week else None)
        world.time += timedelta(minutes=10)
        assert await agentsession.reconcile(world.ctx, SESSION) is None
        assert world.status(SESSION).get("forgivenPods", 0) == week
        world.lose_pod("fix")
        world.restart(SESSION)
    assert len(world.cluster.created) == 9


async def test_a_suspension_without_a_pod_gives_no_life_back(world: World) -> None:
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix"))
    await agentsession.reconcile(world.ctx, SESSION)
    world.lose_pod("fix")
    world.seen(SESSION)["spec"]["operatingMode"] = "Suspended"
    await agentsession.reconcile(world.ctx, SESSION)
    assert (world.status(SESSION)["attempts"], world.status(SESSION)["suspensions"]) == (1, 0)


async def test_lost_pods_follow_each_other_ever_more_slowly(world: World) -> None:
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix"))
    pauses = []
    for _ in range(4):
        await agentsession.reconcile(world.ctx, SESSION)
        world.lose_pod("fix")
        wait_s = await agentsession.reconcile(world.ctx, SESSION)
        pauses.append(0.0 if "fix" in world.cluster.pods else wait_s)
        world.time += timedelta(seconds=pauses[-1] or 0)
    assert pauses == [0, 1, 2, 4]


async def test_small_news_wait_for_company(world: World) -> None:
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix"))
    await agentsession.reconcile(world.ctx, SESSION)
    world.watch_pod("fix", conditions=[pod_condition("PodScheduled", "True")])
    assert await agentsession.reconcile(world.ctx, SESSION) == 5
    assert len(world.cluster.statuses) == 1
    world.time += timedelta(seconds=5)
    await agentsession.reconcile(world.ctx, SESSION)
    assert len(world.cluster.statuses) == 2
    scheduled = find({"status": world.status(SESSION)}, "Scheduled")
    assert scheduled is not None
    assert scheduled["status"] == "True"


async def test_failed_write_is_an_error_and_repeated_without_harm(world: World) -> None:
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix"))
    world.cluster.failing = True
    with pytest.raises(errors.UnavailableError):
        await agentsession.reconcile(world.ctx, SESSION)
    world.cluster.failing = False
    await agentsession.reconcile(world.ctx, SESSION)
    assert world.cluster.created == ["fix"]


async def test_operator_that_may_not_read_secrets_goes_on(world: World) -> None:
    world.ctx.store.put(
        names.AGENT_SESSIONS, builders.owner("fix", envFrom=[{"secretRef": {"name": "hidden"}}])
    )
    await agentsession.reconcile(world.ctx, SESSION)
    assert world.cluster.created == ["fix"]


async def test_stalled_again_for_the_same_reason_is_told_once(world: World) -> None:
    source = [{"configMapRef": {"name": "absent"}}]
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix", envFrom=source))
    for _ in range(3):
        assert await agentsession.reconcile(world.ctx, SESSION) == 10
    assert [event["reason"] for event in world.cluster.events] == ["ConfigMapNotFound"]
    assert len(world.cluster.statuses) == 1


async def test_refused_event_does_not_keep_the_status_back(world: World) -> None:
    world.cluster.refusing_events = True
    world.ctx.store.put(names.AGENT_SESSIONS, builders.owner("fix", poolRef={"name": "absent"}))
    await agentsession.reconcile(world.ctx, SESSION)
    stalled = find({"status": world.status(SESSION)}, "Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "PoolNotFound")
    assert world.cluster.events == []
