"""Pure tables: from pods to conditions, from statuses to writes, from messages to reports."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dspy_operator.errors import ReportInvalidError
from dspy_operator.reports import agent_report, runner_report
from dspy_operator.status import envtask, pods, session
from dspy_operator.status.conditions import Change, Condition, compare, merge
from dspy_operator.status.envtask_fields import result_fields
from dspy_operator.status.outcome import Kind, Outcome, Progress
from dspy_operator.status.session_fields import status_fields
from dspy_operator.status.session_view import Finish, View, finished
from dspy_operator.status.session_view import waiting as between_pods
from dspy_operator.store import Object
from hypothesis import given
from hypothesis import strategies as st

from tests.operator import builders
from tests.operator.fake_kubelet import (
    ended_at,
    pod_condition,
    report,
    result,
    running,
    terminated,
    waiting,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
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


def test_merge_moves_transition_times_only_with_the_status() -> None:
    first = merge([], [Condition("Ready", "False", "A", "x")], 1, START)
    later = START + timedelta(minutes=1)
    second = merge(first, [Condition("Ready", "False", "B", "y")], 2, later)
    assert second[0]["lastTransitionTime"] == first[0]["lastTransitionTime"]
    assert (second[0]["reason"], second[0]["observedGeneration"]) == ("B", 2)
    third = merge(second, [Condition("Ready", "True", "C", "")], 2, later)
    assert third[0]["lastTransitionTime"] == "2026-01-01T00:01:00Z"


def conditions(**statuses: str) -> Object:
    made = [Condition(kind, *value.split("/", 1)) for kind, value in statuses.items()]  # type: ignore[arg-type]
    return {"conditions": merge([], made, 1, START)}


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (conditions(Ready="False/A"), conditions(Ready="False/A"), Change.NONE),
        (conditions(Ready="False/A"), conditions(Ready="True/B"), Change.MATERIAL),
        (conditions(Ready="False/A"), conditions(Ready="False/B"), Change.MINOR),
        (conditions(Scheduled="False/A"), conditions(Scheduled="True/B"), Change.MINOR),
        (conditions(Stalled="True/A"), conditions(Stalled="True/B"), Change.MATERIAL),
        (conditions(Failed="False/A"), conditions(Failed="False/B"), Change.MINOR),
        ({"nodeName": "a"}, {"nodeName": "b"}, Change.MINOR),
        ({"attempts": 1}, {"attempts": 2}, Change.MATERIAL),
        ({}, conditions(Ready="False/A"), Change.MATERIAL),
    ],
)
def test_what_is_worth_a_write(before: Object, after: Object, change: Change) -> None:
    assert compare(before, after) is change


def judged(status: Any, now: datetime = START, **spec: Any) -> Outcome | Progress:
    return envtask.judge(builders.owner("run", command=["true"], **spec), status, now)


def test_task_that_never_starts_is_our_failure() -> None:
    stuck = builders.pod(node="n", containerStatuses=[waiting("task", "ImagePullBackOff", "no such image")])
    waits = judged(stuck)
    assert isinstance(waits, Progress)
    assert (waits.reason, waits.look_again_s) == ("ImagePullFailed", 300)
    ended = judged(stuck, START + timedelta(seconds=301))
    assert isinstance(ended, Outcome)
    assert ended.kind is Kind.NOT_STARTED
    assert "no such image" in ended.message


@pytest.mark.parametrize(
    "status",
    [
        {"conditions": [pod_condition("PodScheduled", "True", lastTransitionTime="2026-01-01T00:06:40Z")]},
        *(
            {"initContainerStatuses": [ended_at("2026-01-01T00:06:40Z", terminated(name, 0))]}
            for name in ("install-runner", "workspace", "setup")
        ),
    ],
    ids=["scheduled", "install-runner", "workspace", "setup"],
)
def test_start_deadline_begins_anew_with_each_step(status: Object) -> None:
    """Setup took longer than the start deadline, and the pod was given up the moment that it ended."""
    pod = builders.pod(node="n", containerStatuses=[waiting("task", "PodInitializing")], **status)
    waits = judged(pod, START + timedelta(seconds=401))
    assert isinstance(waits, Progress)
    assert waits.look_again_s == 299
    ended = judged(pod, START + timedelta(seconds=700))
    assert isinstance(ended, Outcome)
    assert ended.kind is Kind.NOT_STARTED


@pytest.mark.parametrize(
    ("conditions", "reason", "words"),
    [
        ([], "PodStarting", "The pod waits for the scheduler."),
        (
            [pod_condition("PodScheduled", "False", reason="Unschedulable", message="0/3 nodes: no memory")],
            "Unschedulable",
            "0/3 nodes: no memory",
        ),
        (
            [pod_condition("PodScheduled", "False", reason="SchedulingGated", message="gated by Kueue")],
            "SchedulingGated",
            "gated by Kueue",
        ),
    ],
)
def test_task_that_waits_for_room_goes_on_waiting(conditions: list[Object], reason: str, words: str) -> None:
    waits = judged(builders.pod(conditions=conditions), START + timedelta(days=1))
    assert waits == Progress("Pending", reason, words, None)


@pytest.mark.parametrize(
    ("node", "container", "kind"),
    [
        ("n", running, Kind.INTERRUPTED),
        # The node's last word: cut off from the apiserver, its kubelet may have started the command since.
        ("n", lambda name: waiting(name, "PodInitializing"), Kind.INTERRUPTED),
        (None, lambda name: waiting(name, "PodInitializing"), Kind.NOT_STARTED),
    ],
)
def test_task_on_a_lost_node_is_our_failure(node: str | None, container: Any, kind: Kind) -> None:
    pod = builders.pod(node=node, containerStatuses=[container("task")])
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z"
    assert isinstance(judged(pod), Progress)
    ended = judged(pod, START + timedelta(seconds=91))
    assert isinstance(ended, Outcome)
    assert ended.kind is kind


def test_runner_that_overruns_is_our_failure() -> None:
    started = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    pod = builders.pod(phase="Running", containerStatuses=[{"name": "task", "state": started}])
    assert isinstance(judged(pod, START + timedelta(seconds=69), timeoutSeconds=10), Progress)
    ended = judged(pod, START + timedelta(seconds=71), timeoutSeconds=10)
    assert isinstance(ended, Outcome)
    assert ended.kind is Kind.INTERRUPTED


INITIALISED = pod_condition("Initialized", "True")
NEVER_FOUND = "The container could not be located when the pod was terminated"
DIED = result(exit_code=None, signal=9, reason="Signaled")


@pytest.mark.parametrize(
    ("kind", "reason", "status"),
    [
        # After it started: whatever ended it, nobody may run the command again unasked.
        (Kind.INTERRUPTED, "InfraError", {"containerStatuses": [terminated("task", 137)]}),
        (Kind.INTERRUPTED, "InfraError", {"containerStatuses": [terminated("task", 1, "garbage")]}),
        (
            Kind.INTERRUPTED,
            "InfraError",
            {"reason": "DeadlineExceeded", "containerStatuses": [terminated("task", 143)]},
        ),
        (
            Kind.INTERRUPTED,
            "InfraError",
            {"containerStatuses": [terminated("task", 143, json.dumps({**DIED, "reason": "Cancelled"}))]},
        ),
        (
            Kind.INTERRUPTED,
            "InfraError",
            {
                "containerStatuses": [
                    terminated("task", 125, '{"error": {"code": "Internal", "message": "disk"}}')
                ]
            },
        ),
        (
            Kind.INTERRUPTED,
            "InfraError",
            {
                "containerStatuses": [
                    terminated(
                        "task", 137, NEVER_FOUND, "ContainerStatusUnknown", containerID="containerd://1"
                    )
                ]
            },
        ),
        (Kind.INTERRUPTED, "InfraError", {"reason": "Evicted", "conditions": [INITIALISED]}),
        (
            Kind.INTERRUPTED,
            "InfraError",
            {
                "conditions": [pod_condition("DisruptionTarget", "True", reason="DeletionByPodGC")],
                "containerStatuses": [waiting("task", "PodInitializing")],
            },
        ),
        (Kind.COMMAND, "OOMKilled", {"containerStatuses": [terminated("task", 137, "", "OOMKilled")]}),
        (Kind.COMMAND, "Signaled", {"containerStatuses": [terminated("task", 137, json.dumps(DIED))]}),
        (
            Kind.COMMAND,
            "ProcessLimit",
            {"containerStatuses": [terminated("task", 137, json.dumps({**DIED, "reason": "ProcessLimit"}))]},
        ),
        (
            Kind.COMMAND,
            "FromTheFuture",
            {"containerStatuses": [terminated("task", 1, json.dumps({**DIED, "reason": "FromTheFuture"}))]},
        ),
        # Before it started: nobody can have seen anything of it.
        (
            Kind.NOT_STARTED,
            "InfraError",
            {"containerStatuses": [terminated("task", 128, "exec format error", "StartError")]},
        ),
        (
            Kind.NOT_STARTED,
            "InfraError",
            {"containerStatuses": [terminated("task", 137, NEVER_FOUND, "ContainerStatusUnknown")]},
        ),
        (
            Kind.NOT_STARTED,
            "InfraError",
            {
                "containerStatuses": [
                    terminated(
                        "task", 125, '{"error": {"code": "IsolationUnavailable", "message": "no seccomp"}}'
                    )
                ]
            },
        ),
        (Kind.NOT_STARTED, "InfraError", {"reason": "OutOfcpu", "message": "Node did not have enough cpu"}),
        (
            Kind.NOT_STARTED,
            "InfraError",
            {"reason": "Evicted", "containerStatuses": [waiting("task", "PodInitializing")]},
        ),
        (Kind.NOT_STARTED, "InfraError", {"initContainerStatuses": [terminated("install-runner", 1)]}),
    ],
)
def test_whose_failure_and_whether_the_command_can_have_run(kind: Kind, reason: str, status: Object) -> None:
    pod = builders.pod(**{"phase": "Failed", **status})
    pod["spec"]["nodeName"] = "node-1"
    ended = judged(pod)
    assert isinstance(ended, Outcome)
    assert (ended.kind, ended.reason) == (kind, reason)
    assert ended.message


def test_missing_report_says_what_to_do() -> None:
    ended = judged(builders.pod(phase="Failed", containerStatuses=[terminated("task", 137)]))
    assert isinstance(ended, Outcome)
    assert "left no report" in ended.message
    assert "spec.backoffLimit" in ended.message


def test_tails_are_cut_to_the_asked_size() -> None:
    task = builders.owner("run", command=["true"], output={"maxTailBytes": 3})
    message = json.dumps(result(stdout_tail="aéb", stderr_tail=""))
    outcome = envtask.judge(task, builders.pod(containerStatuses=[terminated("task", 0, message)]), START)
    assert isinstance(outcome, Outcome)
    fields = result_fields(task, outcome, START)
    assert fields["stdoutTail"] == "éb"
    assert "stderrTail" not in fields


def test_pod_without_our_annotation_is_the_first() -> None:
    pod = builders.pod()
    pod["metadata"]["annotations"] = {"dspyagent.io/attempt": "-3"}
    assert pods.attempt_of(pod) == 1


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(report(), HOSTILE)) | HOSTILE)
def test_hostile_agent_reports_are_refused_or_sound(value: Any) -> None:
    try:
        made = agent_report(json.dumps(value))
    except ReportInvalidError:
        return
    assert made.outcome in ("Solved", "Unsolved", "Error")
    assert 0 <= made.seconds <= 1e9
    assert made.turns >= 0


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*result(), "error"], HOSTILE)) | HOSTILE)
def test_hostile_runner_reports_are_refused_or_sound(value: Any) -> None:
    try:
        made = runner_report(json.dumps(value))
    except ReportInvalidError:
        return
    assert (made.reason is None) != (made.error is None)
    assert made.exit_code is None or 0 <= made.exit_code <= 255


@given(st.text(max_size=4096))
def test_any_text_is_a_report_or_an_error(text: str) -> None:
    with pytest.raises(ReportInvalidError):
        agent_report(text)
