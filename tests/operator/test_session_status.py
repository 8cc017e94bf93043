"""From a session's pod to its conditions and fields: pure tables."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from dspy_operator.status import session
from dspy_operator.status.session_fields import status_fields
from dspy_operator.status.session_view import Finish, View, finished
from dspy_operator.status.session_view import waiting as between_pods
from dspy_operator.store import Object

from tests.operator import builders
from tests.operator.builders import START
from tests.operator.fake_kubelet import (
    pod_condition,
    report,
    terminated,
    waiting,
)

TASK = {"prompt": "fix", "check": {"command": ["true"]}}
SESSION = builders.owner("fix", task=TASK, policy={"search": {}})
SCHEDULED = pod_condition("PodScheduled", "True")
READY = [SCHEDULED, pod_condition("Ready", "True")]


@pytest.mark.parametrize(
    ("pod", "phase", "true", "reason"),
    [
        (builders.pod(), "Starting", "Reconciling", "PodStarting"),
        (builders.pod(conditions=READY), "Running", "Ready", "AgentReady"),
        (
            builders.pod(containerStatuses=[terminated("agent", 0, json.dumps(report()))]),
            "Solved",
            "Finished",
            "CheckPassed",
        ),
        (
            builders.pod(containerStatuses=[terminated("agent", 0, "?")]),
            "Error",
            "Finished",
            "AgentReportInvalid",
        ),
        (
            builders.pod(containerStatuses=[terminated("agent", 1, restartCount=2)], conditions=[SCHEDULED]),
            "Starting",
            "Reconciling",
            "AgentRestarting",
        ),
        (
            builders.pod(containerStatuses=[terminated("agent", 1, restartCount=6)]),
            "Error",
            "Finished",
            "InfraError",
        ),
        (
            builders.pod(initContainerStatuses=[waiting("install-runner", "InvalidImageName", "bad")]),
            "Stalled",
            "Stalled",
            "ImagePullFailed",
        ),
        (
            builders.pod(
                containerStatuses=[waiting("agent", "CreateContainerConfigError", 'secret "x" not found')]
            ),
            "Stalled",
            "Stalled",
            "ContainerConfigInvalid",
        ),
        (
            builders.pod(containerStatuses=[waiting("agent", "CrashLoopBackOff", "b", restartCount=1)]),
            "Starting",
            "Reconciling",
            "PodStarting",
        ),
    ],
)
def test_session_view(pod: Object, phase: str, true: str, reason: str) -> None:
    view = session.observe(SESSION, pod, START)
    assert view.phase == phase
    by_type = {condition.type: condition for condition in view.conditions}
    assert set(by_type) == {"Scheduled", "WorkspaceReady", "Ready", "Finished", "Stalled", "Reconciling"}
    assert (by_type[true].status, by_type[true].reason) == ("True", reason)
    # A session that ended in an error is stalled for good as well: somebody has to change something.
    also = {"Stalled"} if phase == "Error" else set()
    assert {by_type[other].reason for other in also} <= {reason}
    others = {"Ready", "Finished", "Stalled", "Reconciling"} - {true} - also
    assert {by_type[other].status for other in others} == {"False"}


def test_ready_deadline_is_reckoned_from_the_pod() -> None:
    impatient = builders.owner("fix", task=TASK, lifecycle={"readyDeadlineSeconds": 60})
    view = session.observe(impatient, builders.pod(), START + timedelta(seconds=45))
    assert view.look_again_s == 15
    view = session.observe(impatient, builders.pod(), START + timedelta(seconds=61))
    stalled = next(condition for condition in view.conditions if condition.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", "ReadyDeadlineExceeded")


HOUR = START + timedelta(hours=1)
AN_HOUR_LATER = "2026-01-01T01:00:00Z"
WORKING = {"name": "agent", "started": True, "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}


def test_ready_deadline_begins_anew_where_the_pod_stops_being_ready() -> None:
    words = "containers with unready status: [agent]"
    unready = pod_condition("Ready", "False", message=words, lastTransitionTime=AN_HOUR_LATER)
    pod = builders.pod(node="n", conditions=[SCHEDULED, unready], containerStatuses=[WORKING])
    view = session.observe(SESSION, pod, HOUR + timedelta(seconds=1))
    assert told(view)["Reconciling"] == ("True", "PodUnready")
    assert told(view)["Stalled"] == ("False", "NotStalled")
    assert view.look_again_s == 599
    view = session.observe(SESSION, pod, HOUR + timedelta(seconds=600))
    stalled = next(condition for condition in view.conditions if condition.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", "ReadyDeadlineExceeded")
    assert words in stalled.message


def test_ready_deadline_begins_anew_where_the_pod_is_deleted() -> None:
    pod = builders.pod(node="n", conditions=READY, containerStatuses=[WORKING])
    pod["metadata"]["deletionTimestamp"] = AN_HOUR_LATER
    view = session.observe(SESSION, pod, HOUR)
    assert told(view)["Reconciling"] == ("True", "PodTerminating")


def test_pod_that_was_never_ready_is_not_called_unready() -> None:
    unready = pod_condition("Ready", "False", lastTransitionTime="2026-01-01T00:00:01Z")
    pod = builders.pod(node="n", conditions=[SCHEDULED, unready], containerStatuses=[WORKING])
    view = session.observe(SESSION, pod, START + timedelta(seconds=30))
    assert told(view)["Reconciling"] == ("True", "PodStarting")


def test_error_before_the_workspace_is_not_called_prepared() -> None:
    failed = json.dumps(report(outcome="Error", reason="SetupFailed", message="pip failed"))
    view = session.observe(SESSION, builders.pod(containerStatuses=[terminated("agent", 0, failed)]), START)
    prepared = next(condition for condition in view.conditions if condition.type == "WorkspaceReady")
    assert prepared.status == "False"


def told(seen: View) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in seen.conditions}


def test_finished_conditions_say_why() -> None:
    ended = builders.pod(containerStatuses=[terminated("agent", 0, json.dumps(report()))], conditions=READY)
    ended["spec"]["nodeName"] = "node-1"
    assert told(session.observe(SESSION, ended, START)) == {
        "Scheduled": ("True", "PodScheduled"),
        "WorkspaceReady": ("True", "WorkspacePrepared"),
        "Ready": ("False", "CheckPassed"),
        "Finished": ("True", "CheckPassed"),
        "Stalled": ("False", "NotStalled"),
        "Reconciling": ("False", "Settled"),
    }


def test_session_that_ends_without_a_pod_claims_nothing() -> None:
    seen = told(finished(SESSION, Finish("InfraError", "lost", "Error"), None))
    assert seen["Scheduled"] == ("False", "NeverScheduled")
    assert seen["WorkspaceReady"] == ("False", "NeverPrepared")


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ({"task": TASK}, "Search"),
        ({"task": TASK, "policy": {}}, "Search"),
        ({"task": TASK, "policy": {"llm": {}}}, "LLM"),
        ({}, None),
    ],
)
def test_policy_in_effect(spec: Object, policy: str | None) -> None:
    one = builders.owner("fix", **spec)
    status = status_fields(one, session.observe(one, builders.pod(), START), START)
    assert status.get("policy") == policy


def test_times_stay_as_first_written() -> None:
    stored = {"startTime": "2026-01-01T00:00:00Z", "readyTime": "2026-01-01T00:00:02Z", "podName": "fix"}
    known = builders.owner("fix", stored, task=TASK)
    view = session.observe(known, builders.pod(conditions=READY), START + timedelta(hours=1))
    status = status_fields(known, view, START + timedelta(hours=1))
    assert (status["startTime"], status["readyTime"]) == (stored["startTime"], stored["readyTime"])


def known(**status: Any) -> Object:
    """A session whose first pod was ready on node n."""
    ready = {"podName": "fix", "nodeName": "n", "endpoint": "http://10.0.0.7:9000", "launchType": "Cold"}
    return builders.owner("fix", {**ready, "attempts": 1, **status}, task=TASK)


@pytest.mark.parametrize(
    "view",
    [
        between_pods("PodLost", "evicted", None),
        session.observe(SESSION, builders.pod(podIP="10.0.0.7", node="n"), START),
        finished(SESSION, Finish("InfraError", "lost", "Error"), None),
        finished(
            SESSION,
            Finish("ShutdownTimeReached", "over", "Unsolved"),
            builders.pod(podIP="10.0.0.7", node="n", conditions=READY),
        ),
    ],
    ids=["lost", "unready", "ended without a pod", "ended while ready"],
)
def test_endpoint_is_told_of_a_ready_agent_only(view: View) -> None:
    status = status_fields(known(), view, START)
    assert "endpoint" not in status
    assert (status["podName"], status["nodeName"], status["launchType"]) == ("fix", "n", "Cold")


def test_endpoint_of_a_ready_agent() -> None:
    for address, host in (("10.0.0.7", "10.0.0.7"), ("fd00::7", "[fd00::7]")):
        view = session.observe(SESSION, builders.pod(podIP=address, conditions=READY), START)
        assert status_fields(SESSION, view, START)["endpoint"] == f"http://{host}:9000"


def test_next_pod_is_not_on_the_node_of_the_lost_one() -> None:
    status = status_fields(known(), session.observe(SESSION, builders.pod(attempt=2), START), START)
    assert "nodeName" not in status
    assert status["attempts"] == 2
