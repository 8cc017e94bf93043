"""EnvTask with many runs, and suspension, on a real apiserver with a played kubelet."""

from __future__ import annotations

from datetime import datetime

from tests.operator.fake_kubelet import FakeKubelet, result
from tests.operator.kube import Kube, Object, condition
from tests.operator.process import OperatorProcess


def end_run(kubelet: FakeKubelet, name: str, exit_code: int = 0) -> None:
    kubelet.run_task(name)
    report = result() if exit_code == 0 else result(exit_code=exit_code, reason="NonZeroExit")
    kubelet.end_task(name, exit_code, report)


def until_counts(kube: Kube, name: str, **counts: object) -> Object:
    seen = kube.until(
        "envtasks",
        name,
        lambda task: task is not None and counts.items() <= (task.get("status") or {}).items(),
    )
    assert seen is not None
    return seen


def pod_names(kube: Kube) -> set[str]:
    return {pod["metadata"]["name"] for pod in kube.list("pods")}


def test_every_run_is_made_and_counted(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.task("many", command=["true"], completions=6, parallelism=2, backoffLimit=1)
    until_counts(kube, "many", active=2, pending=4)
    assert pod_names(kube) == {"many-0-1", "many-1-1"}
    variables = kubelet.pod("many-1-1")["spec"]["containers"][0]["env"]
    assert {"name": "JOB_COMPLETION_INDEX", "value": "1"} in variables
    end_run(kubelet, "many-0-1")
    end_run(kubelet, "many-1-1", 3)
    for name in ("many-1-2", "many-2-1", "many-3-1", "many-4-1", "many-5-1"):
        end_run(kubelet, name)
    status = kube.until_condition("envtasks", "many", "Complete", "Completed")["status"]
    expected = {
        "succeeded": 6,
        "failed": 1,
        "active": 0,
        "pending": 0,
        "attempts": 7,
        "completedIndexes": "0-5",
    }
    assert expected.items() <= status.items()
    assert status["phase"] == "Succeeded"
    failure = {"index": 1, "attempt": 1, "reason": "NonZeroExit", "exitCode": 3}
    assert failure.items() <= status["recentFailures"][0].items()
    assert "repeated" not in status
    for name in ("many-0-1", "many-1-1", "many-5-1"):
        kube.until("pods", name, lambda pod: pod is None or "deletionTimestamp" in pod["metadata"])


def test_a_failed_run_leaves_the_others_alone(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.task("many", command=["true"], completions=3, parallelism=3)
    end_run(kubelet, "many-1-1", 1)
    until_counts(kube, "many", failedIndexes="1", active=2)
    end_run(kubelet, "many-0-1")
    end_run(kubelet, "many-2-1")
    task = kube.until_condition("envtasks", "many", "Failed", "RunsFailed")
    assert task["status"]["completedIndexes"] == "0,2"
    assert "1 of 3 runs failed for good" in condition(task, "Failed")["message"]


def test_too_many_failed_runs_end_the_task(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.task("many", command=["true"], completions=10, parallelism=2, maxFailedIndexes=0)
    end_run(kubelet, "many-0-1", 1)
    task = kube.until_condition("envtasks", "many", "Failed", "RunsFailed")
    assert "spec.maxFailedIndexes (0)" in condition(task, "Failed")["message"]
    assert (task["status"]["active"], task["status"]["pending"]) == (0, 0)
    kube.until("pods", "many-1-1", lambda pod: pod is None or "deletionTimestamp" in pod["metadata"])
    assert "many-2-1" not in pod_names(kube)


def test_a_killed_operator_goes_on_without_making_a_run_twice(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.task("many", command=["true"], completions=8, parallelism=4)
    until_counts(kube, "many", active=4)
    operator.kill()
    for index in range(4):
        end_run(kubelet, f"many-{index}-1")
    operator.start()
    for index in range(4, 8):
        end_run(kubelet, f"many-{index}-1")
    status = kube.until_condition("envtasks", "many", "Complete", "Completed")["status"]
    assert (status["attempts"], status["succeeded"], status["failed"]) == (8, 8, 0)


def test_suspended_runs_are_given_back(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.task("many", command=["true"], completions=3, parallelism=2)
    end_run(kubelet, "many-0-1")
    kubelet.run_task("many-1-1")
    until_counts(kube, "many", succeeded=1, active=2)
    kube.patch("envtasks", "many", {"spec": {"suspend": True}})
    kube.until_condition("envtasks", "many", "Suspended")
    for name in ("many-1-1", "many-2-1"):
        kube.until("pods", name, lambda pod: pod is None or "deletionTimestamp" in pod["metadata"])
        if kube.get("pods", name) is not None:
            kube.delete("pods", name)
    kube.patch("envtasks", "many", {"spec": {"suspend": False}})
    for name in ("many-1-2", "many-2-2"):
        end_run(kubelet, name)
    status = kube.until_condition("envtasks", "many", "Complete")["status"]
    assert (status["failed"], status["attempts"]) == (0, 5)


def test_a_suspended_task_starts_nothing(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.task("one", command=["true"], suspend=True)
    kube.until_condition("envtasks", "one", "Suspended")
    assert pod_names(kube) == set()
    kube.patch("envtasks", "one", {"spec": {"suspend": False}})
    kubelet.run_task("one-1")
    until_counts(kube, "one", active=1)
    kube.patch("envtasks", "one", {"spec": {"suspend": True}})
    kube.until_condition("envtasks", "one", "Suspended")
    kube.until("pods", "one-1", lambda pod: pod is None or "deletionTimestamp" in pod["metadata"])
    if kube.get("pods", "one-1") is not None:
        kube.delete("pods", "one-1")
    kube.patch("envtasks", "one", {"spec": {"suspend": False}})
    end_run(kubelet, "one-2")
    status = kube.until_condition("envtasks", "one", "Complete")["status"]
    assert (status["failed"], status["attempts"]) == (0, 2)


def test_parallelism_of_zero_says_so(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.task("one", command=["true"], parallelism=0)
    kube.task("many", command=["true"], parallelism=0, completions=2)
    for name in ("one", "many"):
        kube.until_condition("envtasks", name, "Reconciling", "ParallelismIsZero")
        kube.patch("envtasks", name, {"spec": {"parallelism": 1}})
    end_run(kubelet, "one-1")
    kube.until_condition("envtasks", "one", "Complete")


def test_a_status_is_written_once_a_second(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    """Forty runs end within moments: each cost two writes of its own, and the task a few in all."""
    kube.task("many", command=["true"], completions=40, parallelism=40)
    until_counts(kube, "many", active=40)
    for index in range(40):
        end_run(kubelet, f"many-{index}-1")
    task = kube.until_condition("envtasks", "many", "Complete")
    writes = operator.writes()
    assert writes["create", "pods"] == 40
    seconds = _seconds(task["status"]["startTime"], task["status"]["completionTime"])
    assert writes["patch", "envtasks/status"] <= seconds + 3


def _seconds(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
