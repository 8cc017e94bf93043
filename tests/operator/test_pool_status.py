"""What a pool does about its pods, and what it says of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dspy_operator import errors, names
from dspy_operator.names import Key
from dspy_operator.reconcile import agentpool
from dspy_operator.reconcile.pauses import Pause
from dspy_operator.status.conditions import find
from dspy_operator.status.pool import BATCH, Inventory, conditions, lacking, surplus, take_stock
from dspy_operator.store import Object
from hypothesis import given
from hypothesis import strategies as st

from tests.operator import builders
from tests.operator.fake_kubelet import pod_condition, terminated, waiting
from tests.operator.world import World

POOL = Key(names.AGENT_POOLS, "team", "pool")
HASH = "abc"


def warm(name: str, *, seconds: int = 0, template_hash: str = HASH, **status: Any) -> Object:
    pod = builders.pod(created=f"2026-01-01T00:00:{seconds:02}Z", node="node-1", podIP="10.0.0.1", **status)
    pod["metadata"].update(name=name, uid=name, annotations={"dspyagent.io/template-hash": template_hash})
    return pod


def free(name: str, seconds: int = 0, **more: Any) -> Object:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": f"2026-01-01T00:01:{seconds:02}Z"}
    return warm(name, phase="Running", conditions=[ready], **more)


def failing(name: str, **more: Any) -> Object:
    return warm(name, containerStatuses=[waiting("agent", "ImagePullBackOff", "no such image")], **more)


def names_of(pods: list[Object]) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods]


def test_pods_are_sorted() -> None:
    going = free("going")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    stock = take_stock(
        [
            free("late", 9),
            free("early", 1),
            warm("starting"),
            failing("failing"),
            free("old", template_hash="old"),
            warm("over", phase="Failed"),
            going,
        ],
        HASH,
        builders.START,
    )
    assert names_of(stock.free) == ["early", "late"]
    assert (names_of(stock.starting), names_of(stock.failing)) == (["starting"], ["failing"])
    assert (names_of(stock.useless), names_of(stock.over)) == (["old"], ["over"])
    assert stock.kept == 4


def test_what_is_missed_least_goes_first() -> None:
    stock = take_stock(
        [free("a", 1), free("b", 2), warm("c", seconds=3), warm("d", seconds=4), failing("e")],
        HASH,
        builders.START,
    )
    order = [names_of(surplus(stock, replicas, builders.START)) for replicas in (5, 4, 3, 2, 1)]
    assert order == [[], ["e"], ["e", "d"], ["e", "d", "c"], ["e", "d", "c", "b"]]


@given(
    ready=st.integers(0, 40),
    starting=st.integers(0, 40),
    failed=st.integers(0, 5),
    replicas=st.integers(0, 80),
    proven=st.booleans(),
)
def test_never_more_than_asked_for(
    ready: int, starting: int, failed: int, replicas: int, *, proven: bool
) -> None:
    stock = Inventory([free("a")] * ready, [warm("b")] * starting, [failing("c")] * failed)
    count = lacking(stock, replicas, proven=proven)
    assert 0 <= count <= BATCH
    assert not count or stock.kept + count <= replicas
    if failed or not proven:
        assert not count or failed + starting + count <= 3
    else:
        assert count == min(BATCH, max(0, replicas - stock.kept))


@pytest.mark.parametrize(
    ("stock", "phase", "kind", "reason"),
    [
        (Inventory([free("a"), free("b")]), "Ready", "Ready", "PodsReady"),
        (Inventory([free("a")], [warm("b")]), "Scaling", "Reconciling", "PodsStarting"),
        (Inventory([], [warm("b")]), "Pending", "Reconciling", "PodsStarting"),
        (Inventory([free("a")], [], [failing("c")]), "Stalled", "Stalled", "ImagePullFailed"),
        (Inventory([], [warm("b")], [failing("c")]), "Pending", "Reconciling", "PodsStarting"),
    ],
)
def test_conditions(stock: Inventory, phase: str, kind: str, reason: str) -> None:
    made_phase, made = conditions(stock, 2, builders.START, None)
    assert made_phase == phase
    true = [(each.type, each.reason) for each in made if each.status == "True"]
    assert true == [(kind, reason)]
    assert [each.type for each in made] == ["Ready", "Reconciling", "Stalled"]


def test_a_crash_loop_is_trouble_between_two_crashes_too() -> None:
    last = terminated("agent", 3, "cannot import")["state"]
    again = {"name": "agent", "restartCount": 2, "state": {"running": {}}, "lastState": last}
    stock = take_stock([warm("a", containerStatuses=[again])], HASH, builders.START)
    assert names_of(stock.failing) == ["a"]
    _, made = conditions(stock, 1, builders.START, None)
    assert "cannot import" in made[0].message


def test_pauses_grow_and_end_with_a_ready_pod() -> None:
    pause, now = Pause(), builders.START
    pause.observe(HASH, Inventory(), now)
    lengths = []
    for _ in range(10):
        pause.failed("PodRefused", "quota", now)
        lengths.append(pause.left_s(now))
    assert lengths == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    now += timedelta(seconds=301)
    pause.observe(HASH, Inventory([free("a")]), now)
    assert (pause.left_s(now), pause.said, pause.proven) == (None, None, True)
    pause.observe("another", Inventory(), now)
    assert not pause.proven


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def put_pool(world: World, **spec: Any) -> None:
    world.ctx.store.put(names.AGENT_POOLS, builders.owner("pool", **spec))


async def test_a_template_that_cannot_work_costs_three_pods(world: World) -> None:
    put_pool(world, replicas=50)
    for _ in range(3):
        await agentpool.reconcile(world.ctx, POOL)
        for name in world.cluster.created:
            world.cluster.pods[name]["spec"]["nodeName"] = "node-1"
            world.watch_pod(name, containerStatuses=[waiting("agent", "ImagePullBackOff", "no such image")])
    again_s = await agentpool.reconcile(world.ctx, POOL)
    assert len(world.cluster.created) == 3
    stalled = find({"status": world.status(POOL)}, "Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "ImagePullFailed")
    assert "Container agent: no such image" in stalled["message"]
    assert again_s == 300  # a node that fails is not asked for ever
    ready = pod_condition("Ready", "True")
    for name in world.cluster.created[:]:
        world.watch_pod(name, podIP="10.0.0.1", conditions=[ready], containerStatuses=[])
    assert await agentpool.reconcile(world.ctx, POOL) == 0  # 16 more, and back at once
    assert len(world.cluster.created) == 19


async def test_a_quota_is_asked_again_ever_more_slowly(world: World) -> None:
    put_pool(world, replicas=2)
    world.cluster.refusing_pods = True
    waits = []
    for _ in range(3):
        waits.append(await agentpool.reconcile(world.ctx, POOL))
        world.time += timedelta(seconds=waits[-1] or 0)
    assert waits == [2, 4, 8]
    stalled = find({"status": world.status(POOL)}, "Stalled")
    assert stalled is not None
    assert "exceeded quota" in stalled["message"]
    world.cluster.refusing_pods = False
    while len(world.cluster.created) < 2:
        await agentpool.reconcile(world.ctx, POOL)
    stalled = find({"status": world.status(POOL)}, "Stalled")
    assert stalled is not None
    assert stalled["status"] == "False"


async def test_a_pool_in_trouble_with_the_apiserver_is_an_error(world: World) -> None:
    put_pool(world, replicas=2)
    world.cluster.failing = True
    with pytest.raises(errors.UnavailableError):
        await agentpool.reconcile(world.ctx, POOL)
    world.cluster.failing = False
    await agentpool.reconcile(world.ctx, POOL)
    assert len(world.cluster.created) == 2


async def test_counts_are_written_once_a_second(world: World) -> None:
    put_pool(world, replicas=3)
    await agentpool.reconcile(world.ctx, POOL)
    assert len(world.cluster.statuses) == 1
    ready = pod_condition("Ready", "True")
    for name in world.cluster.created:
        world.watch_pod(name, podIP="10.0.0.1", conditions=[ready])
        assert await agentpool.reconcile(world.ctx, POOL) == 1
    world.time += timedelta(seconds=1)
    assert await agentpool.reconcile(world.ctx, POOL) is None
    assert len(world.cluster.statuses) == 2
    assert world.status(POOL)["ready"] == 3


def worn(pod: Object, restarts: int) -> Object:
    pod["status"]["containerStatuses"] = [
        {"name": "agent", "restartCount": restarts, "state": {"running": {}}}
    ]
    return pod


def test_a_pod_whose_restarts_are_nearly_used_up_is_replaced() -> None:
    """With the sixth restart of its agent a session ends: it is not to begin with five."""
    stock = take_stock([worn(free("fresh"), 2), worn(free("worn"), 3)], HASH, builders.START)
    assert (names_of(stock.free), names_of(stock.useless)) == (["fresh"], ["worn"])
    assert names_of(surplus(stock, 2, builders.START)) == ["worn"]


def over(name: str) -> Object:
    return warm(name, phase="Failed", reason="Terminated", message="node shutdown")


def test_one_incident_is_one_failure() -> None:
    pause = Pause(template_hash=HASH)
    for number in range(8):
        pause.observe(HASH, Inventory(over=[over(f"a-{number}")]), builders.START + timedelta(seconds=1))
    assert (pause.failures, pause.left_s(builders.START + timedelta(seconds=1))) == (1, 2)


def test_pods_that_go_with_their_node_are_replaced_at_once() -> None:
    pause, later = Pause(template_hash=HASH), builders.START + timedelta(hours=1)
    pause.observe(HASH, Inventory([free("a")], over=[over("b"), over("c")]), later)
    assert (pause.failures, pause.left_s(later), pause.said) == (0, None, None)


async def test_after_a_loss_one_pod_alone_tries(world: World) -> None:
    put_pool(world, replicas=20)
    pause = world.ctx.pauses.setdefault(POOL, Pause(proven=True))
    await agentpool.reconcile(world.ctx, POOL)
    (first, *_) = world.cluster.created
    world.cluster.pods.clear()
    for pod in world.ctx.store.pods_of(builders.UID):
        world.ctx.store.remove("pods", pod)
    pause.proven = True
    pause.failed("PodLost", f"{first} was evicted", world.time)
    world.time += timedelta(seconds=2)
    for _ in range(4):
        await agentpool.reconcile(world.ctx, POOL)
    assert len(world.cluster.pods) == 1


async def test_pods_that_hang_are_told_of_and_replaced(world: World) -> None:
    """As where the node's runtime lacks the template's runtimeClassName: ContainerCreating, and nothing more."""
    put_pool(world, replicas=2)
    await agentpool.reconcile(world.ctx, POOL)
    hanging = world.cluster.created[:]
    for name in hanging:
        world.cluster.pods[name]["spec"]["nodeName"] = "node-1"
        world.watch_pod(name, containerStatuses=[waiting("agent", "ContainerCreating", "")])
    assert await agentpool.reconcile(world.ctx, POOL) == 300
    world.time += timedelta(seconds=300)
    assert await agentpool.reconcile(world.ctx, POOL) == 300
    stalled = find({"status": world.status(POOL)}, "Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "PodStarting")
    assert world.cluster.deleted == []
    world.time += timedelta(seconds=300)
    await agentpool.reconcile(world.ctx, POOL)
    assert world.cluster.deleted == hanging


def test_a_pod_that_is_unready_for_a_moment_has_not_failed() -> None:
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T01:00:00Z"}
    pod = warm("a", phase="Running", conditions=[unready])
    stock = take_stock([pod], HASH, builders.START + timedelta(hours=1, seconds=1))
    assert (stock.starting, stock.failing) == ([pod], [])
