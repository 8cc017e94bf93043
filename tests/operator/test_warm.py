"""Claiming and binding against a cluster and agents in memory: races, refusals, and a process that ends in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dspy_operator import errors, names
from dspy_operator.names import Key
from dspy_operator.reconcile import agentpool, agentsession
from dspy_operator.status.conditions import find
from dspy_operator.store import Object
from hypothesis import given
from hypothesis import strategies as st

from tests.operator import builders
from tests.operator.fake_kubelet import pod_condition
from tests.operator.world import World

POOL = Key(names.AGENT_POOLS, "team", "pool")
SESSION = Key(names.AGENT_SESSIONS, "team", "fix")
SCHEDULED = pod_condition("PodScheduled", "True")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def put_pool(world: World, **spec: Any) -> None:
    pool = builders.owner("pool", **spec)
    pool["metadata"].update(uid="of-the-pool", resourceVersion=str(next(world.cluster.versions)))
    world.ctx.store.put(names.AGENT_POOLS, pool)


def put_session(world: World, name: str = "fix", **spec: Any) -> Key:
    session = builders.owner(name, poolRef={"name": "pool"}, **spec)
    session["metadata"]["uid"] = f"of-{name}"
    world.ctx.store.put(names.AGENT_SESSIONS, session)
    return Key(names.AGENT_SESSIONS, "team", name)


async def fill(world: World, replicas: int, **spec: Any) -> list[str]:
    """A pool whose pods are ready, the first created first."""
    put_pool(world, replicas=replicas, **spec)
    while len(world.cluster.created) < replicas:
        await agentpool.reconcile(world.ctx, POOL)
        for number, name in enumerate(world.cluster.created):
            since = f"2026-01-01T00:00:{number:02}Z"
            ready = {**pod_condition("Ready", "True"), "lastTransitionTime": since}
            world.watch_pod(name, phase="Running", podIP=f"10.0.0.{number}", conditions=[SCHEDULED, ready])
    await agentpool.reconcile(world.ctx, POOL)
    return world.cluster.created


async def test_the_pod_that_has_been_ready_longest_is_taken(world: World) -> None:
    made = await fill(world, 3)
    await agentsession.reconcile(world.ctx, put_session(world))
    status = world.status(SESSION)
    assert (status["podName"], status["launchType"], status["phase"]) == (made[0], "Warm", "Running")
    assert world.agents.endpoints == ["http://10.0.0.0:9000"]
    assert POOL in world.woken


async def test_a_pod_that_another_replica_claims_is_left_to_it(world: World) -> None:
    made = await fill(world, 2)
    world.cluster.pods[made[0]]["metadata"]["resourceVersion"] = "99999"
    await agentsession.reconcile(world.ctx, put_session(world))
    assert world.status(SESSION)["podName"] == made[1]


@pytest.mark.parametrize(
    "error",
    [errors.AgentUnreachableError("refused"), errors.AgentRefusedError("It has another session.", 409)],
)
async def test_a_pod_that_does_not_take_the_session_is_replaced(world: World, error: Exception) -> None:
    made = await fill(world, 2)
    world.agents.answers = [error]
    await agentsession.reconcile(world.ctx, put_session(world))
    assert world.cluster.deleted == [made[0]]
    assert world.status(SESSION)["podName"] == made[1]


UNREACHABLE = errors.AgentUnreachableError("no connection to the agent: timed out")


async def test_agents_that_cannot_be_reached_cost_two_pods(world: World) -> None:
    made = await fill(world, 6)
    world.agents.answers = [UNREACHABLE] * 20
    await agentsession.reconcile(world.ctx, put_session(world))
    assert world.cluster.deleted == made[:2]
    status = world.status(SESSION)
    assert status["launchType"] == "Cold"
    assert "port 9000" in status["launchReason"]
    required = put_session(world, "required", pooling="Require")
    assert await agentsession.reconcile(world.ctx, required) == 2
    assert len(world.agents.endpoints) == 2  # none is handed out now
    ready = find({"status": world.status(required)}, "Ready")
    assert ready is not None
    assert "port 9000" in ready["message"]
    await agentpool.reconcile(world.ctx, POOL)
    stalled = find({"status": world.status(POOL)}, "Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "AgentUnreachable")


async def test_one_session_tries_whether_agents_can_be_reached_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(world, 8)
    world.agents.answers = [UNREACHABLE] * 4
    patch_pod = world.cluster.patch_pod

    async def patch_slowly(seen: Object, change: Object) -> Object:
        await asyncio.sleep(0)
        return await patch_pod(seen, change)

    monkeypatch.setattr(world.cluster, "patch_pod", patch_slowly)
    keys = [put_session(world, f"fix-{number}", pooling="Require") for number in range(4)]
    for wait_s in (2, 4):
        assert await agentsession.reconcile(world.ctx, keys[0]) == wait_s
        world.time += timedelta(seconds=wait_s)
    assert len(world.cluster.deleted) == 3
    await asyncio.gather(*(agentsession.reconcile(world.ctx, key) for key in keys))
    assert len(world.cluster.deleted) == 4
    world.time += timedelta(seconds=8)
    await asyncio.gather(*(agentsession.reconcile(world.ctx, key) for key in keys))
    await agentpool.reconcile(world.ctx, POOL)
    stalled = find({"status": world.status(POOL)}, "Stalled")
    assert stalled is not None
    assert stalled["status"] == "False"


async def test_pods_that_never_had_the_session_are_no_loss_of_it(world: World) -> None:
    key = put_session(world, pooling="Require")
    for _ in range(9):
        world.cluster.created.clear()
        (name,) = await fill(world, 1)
        world.agents.answers = [errors.AgentRefusedError("It has another session.", 409)]
        pod = world.cluster.pods[name]
        await agentsession.reconcile(world.ctx, key)
        assert name not in world.cluster.pods
        world.cluster.pods[name] = pod
        world.lose_pod(name)
    await agentsession.reconcile(world.ctx, key)
    assert world.status(key)["phase"] == "Starting"


async def test_a_required_pod_is_refused_once(world: World) -> None:
    made = await fill(world, 3)
    world.agents.answers = [errors.AgentRefusedError("policy: unknown field", 422)]
    key = put_session(world, pooling="Require")
    for _ in range(3):
        await agentsession.reconcile(world.ctx, key)
    assert world.cluster.deleted == made[:1]
    stalled = find({"status": world.status(key)}, "Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "NotBindable")
    assert "policy: unknown field" in stalled["message"]


async def test_an_environment_that_no_agent_takes_costs_no_pod(world: World) -> None:
    await fill(world, 1)
    large = [{"name": f"V{number}", "value": "x" * 2**19} for number in range(2)]
    await agentsession.reconcile(world.ctx, put_session(world, env=large, pooling="Require"))
    assert (world.agents.bodies, world.cluster.deleted) == ([], [])
    stalled = find({"status": world.status(SESSION)}, "Stalled")
    assert stalled is not None
    assert stalled["reason"] == "NotBindable"
    assert "1 MiB" in stalled["message"]


def unready_reason(world: World, key: Key) -> str:
    unready = find({"status": world.status(key)}, "Ready")
    assert unready is not None
    assert unready["status"] == "False"
    return str(unready["reason"])


async def test_an_agent_that_may_have_the_session_is_asked_again(world: World) -> None:
    made = await fill(world, 2)
    world.agents.answers = [errors.AgentSilentError("timed out"), "Preparing", "Preparing"]
    key = put_session(world)
    assert await agentsession.reconcile(world.ctx, key) == 1
    assert unready_reason(world, key) == "AgentUnreachable"
    assert await agentsession.reconcile(world.ctx, key) == 1
    world.time += timedelta(seconds=5)  # a reason alone is written later
    assert await agentsession.reconcile(world.ctx, key) == 1
    assert unready_reason(world, key) == "PreparingWorkspace"
    await agentsession.reconcile(world.ctx, key)
    assert world.status(key)["phase"] == "Running"
    assert world.status(key)["podName"] == made[0]
    assert world.cluster.deleted == []


async def test_an_agent_that_stays_silent_is_given_up(world: World) -> None:
    made = await fill(world, 1)
    world.agents.answers = [errors.AgentSilentError("timed out")] * 9
    key = put_session(world)
    for _ in range(7):
        await agentsession.reconcile(world.ctx, key)
    assert world.cluster.deleted == made
    assert world.cluster.created == made  # the silent one may be at work until it is gone


async def test_a_session_that_the_agent_refuses_starts_cold(world: World) -> None:
    await fill(world, 1)
    world.agents.answers = [errors.AgentRefusedError("policy: unknown field", 422)]
    await agentsession.reconcile(world.ctx, put_session(world))
    status = world.status(SESSION)
    assert (status["podName"], status["launchType"]) == ("fix", "Cold")
    assert "policy: unknown field" in status["launchReason"]


async def test_secrets_that_are_hidden_from_the_operator(world: World) -> None:
    await fill(world, 1)
    source: dict[str, Any] = {"envFrom": [{"secretRef": {"name": "hidden"}}]}
    await agentsession.reconcile(world.ctx, put_session(world, **source))
    assert "may not read Secret hidden" in world.status(SESSION)["launchReason"]
    required = put_session(world, "second", pooling="Require", **source)
    await agentsession.reconcile(world.ctx, required)
    stalled = find({"status": world.status(required)}, "Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "NotBindable")
    assert world.agents.bodies == []


async def test_killed_between_claim_and_bind(world: World) -> None:
    made = await fill(world, 2)
    world.agents.answers = [RuntimeError("kill -9")]
    key = put_session(world)
    with pytest.raises(RuntimeError):
        await agentsession.reconcile(world.ctx, key)
    assert "podName" not in world.status(key)
    await agentsession.reconcile(world.ctx, key)
    assert world.status(key)["podName"] == made[0]
    assert world.status(key)["phase"] == "Running"


async def test_killed_between_bind_and_status(world: World) -> None:
    made = await fill(world, 2)
    key = put_session(world)
    session = world.seen(key)
    await agentsession.reconcile(world.ctx, key)
    listed = list(world.cluster.pods.values())
    world.forget()
    world.ctx.store.put(names.AGENT_SESSIONS, session)
    for pod in listed:
        world.ctx.store.put("pods", pod)
    await agentsession.reconcile(world.ctx, key)
    assert world.status(key)["podName"] == made[0]
    assert len(world.agents.bodies) == 2
    assert world.agents.bodies[0] == world.agents.bodies[1]


async def test_two_claimed_pods_for_one_session(world: World) -> None:
    """Two replicas that both led for a moment: the one that the status names stays."""
    made = await fill(world, 2)
    key = put_session(world)
    await agentsession.reconcile(world.ctx, key)
    second = world.cluster.pods[made[1]]
    first = world.cluster.pods[made[0]]["metadata"]
    second["metadata"].update(labels=first["labels"], ownerReferences=first["ownerReferences"])
    world.watch_pod(made[1])
    await agentsession.reconcile(world.ctx, key)
    assert world.cluster.deleted == [made[1]]
    assert world.status(key)["podName"] == made[0]


@given(pods=st.integers(0, 4), sessions=st.integers(1, 6), stolen=st.sets(st.integers(0, 3)))
async def test_every_pod_goes_to_one_session(
    tmp_path_factory: pytest.TempPathFactory, pods: int, sessions: int, stolen: set[int]
) -> None:
    """Sessions that start at the same moment, while another replica claims some of the pods."""
    world = World(tmp_path_factory.mktemp("race"))
    made = list(await fill(world, pods))
    lost = {made[number] for number in stolen if number < pods}
    for name in lost:
        world.cluster.pods[name]["metadata"]["resourceVersion"] = "99999"
    keys = [put_session(world, f"fix-{number}") for number in range(sessions)]
    await asyncio.gather(*(agentsession.reconcile(world.ctx, key) for key in keys))
    taken = [s["podName"] for key in keys if (s := world.status(key))["launchType"] == "Warm"]
    assert len(set(taken)) == len(taken) == min(sessions, pods - len(lost))
    assert set(taken) <= set(made) - lost
    assert all(world.status(key)["podName"] == key.name for key in keys if is_cold(world.status(key)))


def is_cold(status: Object) -> bool:
    return bool(status["launchType"] == "Cold")


async def test_waiting_sessions_are_served_in_turn(world: World) -> None:
    await fill(world, 0)
    keys = [put_session(world, f"fix-{number}", pooling="Require") for number in range(3)]
    for key in keys:
        await agentsession.reconcile(world.ctx, key)
    world.woken.clear()
    await fill(world, 2)
    assert world.woken == keys[:2]
    await agentsession.reconcile(world.ctx, keys[0])
    assert world.ctx.claims.waiting(POOL, 9) == keys[1:]
    world.ctx.store.remove(names.AGENT_SESSIONS, world.seen(keys[1]))
    await agentsession.reconcile(world.ctx, keys[1])
    assert world.woken[-1] == POOL  # it did not take the pod: whose turn is it now?
    assert world.ctx.claims.waiting(POOL, 9) == keys[2:]


def mode(world: World, key: Key, wanted: str) -> None:
    world.seen(key)["spec"]["operatingMode"] = wanted


async def test_a_suspended_session_is_told_of_until_its_pod_is_gone(world: World) -> None:
    (name, _) = await fill(world, 2)
    key = put_session(world)
    await agentsession.reconcile(world.ctx, key)
    pod = world.cluster.pods[name]
    mode(world, key, "Suspended")
    await agentsession.reconcile(world.ctx, key)
    world.cluster.pods[name] = pod  # it takes its time to end
    world.watch_pod(name)
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:10Z"
    world.watch_pod(name)
    await agentsession.reconcile(world.ctx, key)
    said = find({"status": world.status(key)}, "Suspended")
    assert said is not None
    assert said["reason"] == "Suspending"
    mode(world, key, "Running")
    await agentsession.reconcile(world.ctx, key)
    assert len(world.agents.bodies) == 1  # two agents at once would work on one event log
    world.lose_pod(name)
    await agentsession.reconcile(world.ctx, key)
    assert (world.status(key)["phase"], world.status(key)["attempts"]) == ("Running", 2)
    assert world.status(key)["suspensions"] == 1


async def test_the_deadline_counts_from_when_the_session_began_to_wait(world: World) -> None:
    await fill(world, 0)
    key = put_session(world, pooling="Require")
    mode(world, key, "Suspended")
    await agentsession.reconcile(world.ctx, key)
    world.time += timedelta(hours=12)
    mode(world, key, "Running")
    assert await agentsession.reconcile(world.ctx, key) == 600
    assert world.status(key)["phase"] == "Starting"
    world.time += timedelta(seconds=600)
    await agentsession.reconcile(world.ctx, key)
    assert world.status(key)["phase"] == "Stalled"
    world.restart(key)
    put_pool(world, replicas=0)
    await agentsession.reconcile(world.ctx, key)
    assert world.status(key)["phase"] == "Stalled"


async def test_a_newcomer_leaves_pods_to_those_that_wait(world: World) -> None:
    await fill(world, 0)
    first = put_session(world, "first", pooling="Require")
    await agentsession.reconcile(world.ctx, first)
    await fill(world, 1)
    newcomer, required = put_session(world, "newcomer"), put_session(world, "second", pooling="Require")
    for key in (newcomer, required, first):
        await agentsession.reconcile(world.ctx, key)
    assert world.status(newcomer)["launchType"] == "Cold"
    assert "podName" not in world.status(required)
    assert world.status(first)["launchType"] == "Warm"


async def test_what_a_session_names_is_read_once_and_only_for_a_pod(world: World) -> None:
    world.cluster.config_maps["settings"] = frozenset({"A"})
    source: dict[str, Any] = {"envFrom": [{"configMapRef": {"name": "settings"}}], "pooling": "Require"}
    await fill(world, 0)
    key = put_session(world, **source)
    await agentsession.reconcile(world.ctx, key)
    assert world.cluster.reads == []
    await fill(world, 1)
    await agentsession.reconcile(world.ctx, key)
    assert world.status(key)["launchType"] == "Warm"
    assert world.cluster.reads == ["settings"]


async def test_a_missing_config_map_stalls_a_warm_session(world: World) -> None:
    await fill(world, 1)
    key = put_session(world, envFrom=[{"configMapRef": {"name": "absent"}}])
    assert await agentsession.reconcile(world.ctx, key) == 10
    stalled = find({"status": world.status(key)}, "Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "ConfigMapNotFound")
    assert world.cluster.deleted == []


async def test_a_warm_pod_forgives_no_loss_before_the_session_used_it(world: World) -> None:
    """It was ready for hours, but not for this session."""
    (first, _) = await fill(world, 2)
    world.time += timedelta(hours=3)
    key = put_session(world)
    await agentsession.reconcile(world.ctx, key)
    world.watch_pod(first, phase="Failed")
    await agentsession.reconcile(world.ctx, key)
    world.ctx.store.remove("pods", world.ctx.store.pods_of("of-fix")[0])
    assert await agentsession.reconcile(world.ctx, key) is None
    assert await agentsession.reconcile(world.ctx, key) == 600
    assert "forgivenPods" not in world.status(key)
    world.time += timedelta(seconds=600)
    await agentsession.reconcile(world.ctx, key)
    assert world.status(key)["forgivenPods"] == 1
