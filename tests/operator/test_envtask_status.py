"""From an attempt's pod to how it stands: whose failure it is, and whether the command can have begun. Pure tables."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from dspy_operator.status import envtask, pods
from dspy_operator.status.envtask_fields import result_fields
from dspy_operator.status.outcome import Kind, Outcome, Progress
from dspy_operator.store import Object

from tests.operator import builders
from tests.operator.builders import START
from tests.operator.fake_kubelet import (
    ended_at,
    pod_condition,
    result,
    running,
    terminated,
    waiting,
)


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
