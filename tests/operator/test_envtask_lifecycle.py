"""EnvTask in Pod mode on a real apiserver: every way that a command, or we, can end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operator.fake_kubelet import FakeKubelet, pod_condition, result, terminated
from tests.operator.kube import Kube, Object, condition
from tests.operator.process import OperatorProcess


def test_completed(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.task("run", command=["echo"], args=["out"])
    kubelet.run_task("run-1")
    kubelet.end_task("run-1", 0, result())
    task = kube.until_condition("envtasks", "run", "Complete", "Completed")
    status = task["status"]
    assert status["exitCode"] == 0
    assert status["reason"] == "Completed"
    assert status["stdoutTail"] == "out\n"
    assert status["durationSeconds"] == 1.5
    assert status["isolation"] == ["no_new_privs", "landlock:abi7"]
    assert status["usage"]["maxRssBytes"] == 4096
    counts = {name: status[name] for name in ("attempts", "active", "pending", "succeeded", "failed")}
    assert counts == {"attempts": 1, "active": 0, "pending": 0, "succeeded": 1, "failed": 0}
    assert operator.writes() == {("create", "pods"): 1, ("patch", "envtasks/status"): 2}


FAILURES: list[tuple[int, Object | str, str, dict[str, Any]]] = [
    (3, result(exit_code=3, reason="NonZeroExit"), "", {"reason": "NonZeroExit", "exitCode": 3}),
    (
        139,
        result(exit_code=None, signal=11, reason="Signaled"),
        "",
        {"reason": "Signaled", "signal": 11},
    ),
    (124, result(exit_code=None, signal=9, reason="TimedOut"), "", {"reason": "TimedOut", "signal": 9}),
    (137, result(exit_code=None, signal=9, reason="OOMKilled"), "", {"reason": "OOMKilled"}),
    (137, result(exit_code=None, signal=9, reason="Signaled"), "OOMKilled", {"reason": "OOMKilled"}),
    (137, "", "OOMKilled", {"reason": "OOMKilled"}),
    (137, "", "", {"reason": "InfraError"}),
    (1, "garbage", "", {"reason": "InfraError"}),
    (125, {"error": {"code": "Internal", "message": "disk"}}, "", {"reason": "InfraError"}),
    (143, result(exit_code=None, signal=15, reason="Cancelled"), "", {"reason": "InfraError"}),
    (137, result(exit_code=None, signal=9, reason="ProcessLimit"), "", {"reason": "ProcessLimit"}),
    (
        125,
        {"error": {"code": "CannotStart", "message": "no such file: nope"}},
        "",
        {"reason": "CannotStart"},
    ),
]


def test_failed_by_the_command(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess, subtests: pytest.Subtests
) -> None:
    for number in range(len(FAILURES)):
        kube.task(f"run{number}", command=["nope"])
    for number, (exit_code, report, kubelet_reason, expected) in enumerate(FAILURES):
        with subtests.test(report=report):
            kubelet.run_task(f"run{number}-1")
            kubelet.end_task(f"run{number}-1", exit_code, report, kubelet_reason)
            task = kube.until_condition("envtasks", f"run{number}", "Failed", expected["reason"])
            assert expected.items() <= task["status"].items()
            assert task["status"]["attempts"] == 1
            assert kube.get("pods", f"run{number}-2") is None


def test_command_is_retried_to_its_limit(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.task("run", command=["false"], backoffLimit=2)
    for attempt in (1, 2, 3):
        kubelet.run_task(f"run-{attempt}")
        kubelet.end_task(f"run-{attempt}", 1, result(exit_code=1, reason="NonZeroExit"))
    task = kube.until_condition("envtasks", "run", "Failed", "NonZeroExit")
    assert (task["status"]["attempts"], task["status"]["failed"]) == (3, 3)


@pytest.mark.parametrize("how", ["isolation", "rejected", "deleted", "install"])
def test_command_that_never_started_is_tried_again(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess, how: str
) -> None:
    kube.task("run", command=["true"])  # backoffLimit 0: the command may fail no once
    for attempt in (1, 2, 3):
        fail(kube, kubelet, f"run-{attempt}", how)
    kubelet.run_task("run-4")
    kubelet.end_task("run-4", 0, result())
    task = kube.until_condition("envtasks", "run", "Complete")
    assert (task["status"]["attempts"], task["status"]["failed"]) == (4, 0)


def fail(kube: Kube, kubelet: FakeKubelet, pod: str, how: str) -> None:
    kubelet.pod(pod)
    match how:
        case "isolation":
            error = {"code": "IsolationUnavailable", "message": "no seccomp; the command was not started"}
            kubelet.end_task(pod, 125, {"error": error})
        case "rejected":
            kubelet.bind(pod)
            kubelet.status(pod, phase="Failed", reason="OutOfcpu", message="Node did not have enough cpu")
        case "deleted":
            kube.delete("pods", pod)
        case "install":
            ended = terminated("install-runner", 1, "read-only file system")
            kubelet.status(pod, phase="Failed", initContainerStatuses=[ended], containerStatuses=[])


@pytest.mark.parametrize("how", ["evicted", "deleted", "killed"])
def test_command_that_started_is_not_run_again_unasked(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess, how: str
) -> None:
    kube.task("run", command=["true"])
    kubelet.run_task("run-1")
    interrupt(kube, kubelet, "run-1", how)
    task = kube.until_condition("envtasks", "run", "Failed", "InfraError")
    assert (task["status"]["attempts"], task["status"]["failed"]) == (1, 1)
    assert kube.get("pods", "run-2") is None


def test_command_that_started_is_run_again_where_the_spec_allows_it(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.task("run", command=["true"], backoffLimit=1)
    kubelet.run_task("run-1")
    interrupt(kube, kubelet, "run-1", "killed")
    kubelet.run_task("run-2")
    kubelet.end_task("run-2", 0, result())
    kube.until_condition("envtasks", "run", "Complete")


def interrupt(kube: Kube, kubelet: FakeKubelet, pod: str, how: str) -> None:
    match how:
        case "killed":
            kubelet.end_task(pod, 137, "")
        case "evicted":
            kubelet.evict(pod)
        case "deleted":
            kube.delete("pods", pod)


def test_our_failures_have_a_limit(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.task("run", command=["true"], backoffLimit=5)
    for attempt in (1, 2, 3, 4):
        fail(kube, kubelet, f"run-{attempt}", "isolation")
    task = kube.until_condition("envtasks", "run", "Failed", "InfraError")
    assert task["status"]["reason"] == "InfraError"
    assert "exitCode" not in task["status"]
    assert task["status"]["attempts"] == 4


@pytest.mark.parametrize(
    ("container", "message", "reason"),
    [
        ("workspace", '{"reason": "WorkspaceInvalid", "message": "the archive escapes"}', "WorkspaceInvalid"),
        ("setup", '{"exit_code": 2, "reason": "NonZeroExit", "stderr_tail": "no pip"}', "SetupFailed"),
    ],
)
def test_workspace_that_cannot_be_prepared(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess, *, container: str, message: str, reason: str
) -> None:
    blob = {"sha256": "0" * 64}
    kube.task(
        "run", command=["true"], workspace={"blob": blob, "setup": {"command": ["pip", "install", "."]}}
    )
    kubelet.pod("run-1")
    ended = terminated(container, 2, message)
    failed = [pod_condition("Ready", "False")]
    kubelet.status("run-1", phase="Failed", conditions=failed, initContainerStatuses=[ended])
    task = kube.until_condition("envtasks", "run", "Failed", reason)
    assert task["status"]["attempts"] == 1


def test_missing_input_recovers(kube: Kube, operator: OperatorProcess) -> None:
    key = {"name": "data", "key": "a.txt"}
    kube.task("run", command=["cat", "a.txt"], inputs=[{"path": "in/a.txt", "configMapKeyRef": key}])
    task = kube.until_condition("envtasks", "run", "Stalled", "ConfigMapNotFound")
    assert "spec.inputs[0]" in condition(task, "Stalled")["message"]
    kube.create(
        "configmaps",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "data"}, "data": {"a.txt": "1"}},
    )
    kube.until("pods", "run-1", lambda pod: pod is not None)


def test_ttl_deletes_the_task(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.task("run", command=["true"], ttlSecondsAfterFinished=0)
    kubelet.run_task("run-1")
    kubelet.end_task("run-1", 0, result())
    kube.until("envtasks", "run", lambda seen: seen is None)
