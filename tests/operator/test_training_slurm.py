"""TrainingJob on Slurm, on a real apiserver. The orchestrator, and Slurm behind it, is a stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.charts.apiserver import Apiserver
from tests.operator.kube import Kube, condition
from tests.operator.process import OperatorProcess
from tests.operator.standin_orchestrator import TOKEN, StandInOrchestrator
from tests.operator.test_training_ray import checkpoint, progress, until_checkpoint, until_status

JOB: dict[str, Any] = {
    "backend": "Slurm",
    "policy": {"ranker": {}},
    "environment": {"tasks": {"generator": {"name": "mutants"}}},
    "trainer": {"command": ["python", "-m", "train"], "numNodes": 2},
    "slurm": {"partition": "gpu", "timeLimit": "12:00:00", "memoryPerNode": "4Gi"},
}


@pytest.fixture
def slurm() -> Iterator[StandInOrchestrator]:
    with StandInOrchestrator() as standin:
        yield standin


@pytest.fixture
def trained(
    apiserver: Apiserver, kube: Kube, slurm: StandInOrchestrator, tmp_path: Path
) -> Iterator[OperatorProcess]:
    (tmp_path / "orchestrator-token").write_text(TOKEN + "\n")
    env = {
        "DSPY_OPERATOR_TRAINING_POLL_SECONDS": "0.2",
        "DSPY_OPERATOR_SLURM_GIVE_UP_SECONDS": "3",
        "DSPY_OPERATOR_ORCHESTRATOR_URL": slurm.url,
        "DSPY_OPERATOR_ORCHESTRATOR_TOKEN_FILE": str(tmp_path / "orchestrator-token"),
    }
    with OperatorProcess(apiserver.kubeconfig, kube.namespace, tmp_path, env=env) as process:
        yield process
        for job in kube.list("trainingjobs"):
            kube.patch("trainingjobs", job["metadata"]["name"], {"metadata": {"finalizers": None}})


def test_complete(kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB)
    task = slurm.until_task(1)
    spec = slurm.specs[task]
    assert spec["argv"] == ["python", "-m", "train"]
    assert spec["tenant"] == kube.namespace
    assert spec["slurm"] == {
        "nodes": 2,
        "requeue": False,
        "partition": "gpu",
        "memory_mb": 4096,
        "time_limit_minutes": 720,
    }
    slurm.run(task, 7)
    until_status(kube, "rank", jobState="Running", slurmJobId=7)
    slurm.print(task, "noise\n", progress(10, 0.1), checkpoint(10), '{"dspy": "progress", "st')
    until_checkpoint(kube, "rank", 10)
    slurm.print(task, 'ep": 20, "metrics": {"reward_mean": 0.5}}\n', checkpoint(20))
    until_checkpoint(kube, "rank", 20)
    slurm.end(task, "Succeeded", "COMPLETED")
    status = kube.until_condition("trainingjobs", "rank", "Complete", "Succeeded")["status"]
    assert [point["step"] for point in status["progress"]["curve"]] == [10, 20]
    assert (status["slurmJobId"], status["slurmState"]) == (7, "COMPLETED")
    kube.delete("trainingjobs", "rank")
    kube.until("trainingjobs", "rank", lambda job: job is None)


def test_node_lost(kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB)
    first = slurm.until_task(1)
    slurm.run(first, 7)
    slurm.print(first, progress(10, 0.1), checkpoint(10))
    until_checkpoint(kube, "rank", 10)
    slurm.lose(first, 7)
    slurm.until_state(first, "Cancelled")
    told = slurm.specs[slurm.until_task(2)]["env"]
    assert (told["DSPY_TRAINING_ATTEMPT"], told["DSPY_TRAINING_RESUME_FROM"]) == ("2", "s3://bucket/10")
    until_status(kube, "rank", attempts=2, failures=0)


def test_node_lost_before_the_job_was_seen_to_run(
    kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess
) -> None:
    kube.training("rank", **JOB)
    slurm.lose(slurm.until_task(1), 7)
    job = kube.until_condition("trainingjobs", "rank", "Failed", "NoCheckpoint")
    assert "Slurm job 7 ended" in condition(job, "Failed")["message"]


def test_another_job_in_its_place(kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess) -> None:
    """The orchestrator submitted a second job, which does not know the checkpoint: it is cancelled."""
    kube.training("rank", **JOB)
    first = slurm.until_task(1)
    slurm.run(first, 7)
    slurm.print(first, progress(10, 0.1), checkpoint(10))
    until_checkpoint(kube, "rank", 10)
    until_status(kube, "rank", slurmJobId=7)
    slurm.run(first, 8)
    slurm.until_state(first, "Cancelled")
    assert slurm.specs[slurm.until_task(2)]["env"]["DSPY_TRAINING_RESUME_STEP"] == "10"


def test_suspend(kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB)
    first = slurm.until_task(1)
    slurm.run(first, 7)
    slurm.print(first, checkpoint(10))
    until_checkpoint(kube, "rank", 10)
    kube.patch("trainingjobs", "rank", {"spec": {"suspend": True}})
    kube.until_condition("trainingjobs", "rank", "Suspended")
    assert slurm.tasks[first]["state"] == "Cancelled"
    kube.patch("trainingjobs", "rank", {"spec": {"suspend": False}})
    assert slurm.specs[slurm.until_task(2)]["env"]["DSPY_TRAINING_RESUME_STEP"] == "10"


def test_unreachable_for_a_while(kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB)
    task = slurm.until_task(1)
    slurm.run(task, 7)
    until_status(kube, "rank", jobState="Running")
    slurm.stop()
    job = kube.until_condition("trainingjobs", "rank", "Stalled", "BackendUnreachable")
    assert "goes on by itself" in condition(job, "Stalled")["message"]
    assert job["status"]["slurmJobId"] == 7
    slurm.start()
    until_status(kube, "rank", jobState="Running", phase="Running")


def test_deleted(kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB)
    task = slurm.until_task(1)
    slurm.run(task, 7)
    until_status(kube, "rank", jobState="Running")
    kube.delete("trainingjobs", "rank")
    kube.until("trainingjobs", "rank", lambda job: job is None)
    assert slurm.tasks[task]["state"] == "Cancelled"


def test_deleted_when_slurm_is_gone_for_good(
    kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess
) -> None:
    kube.training("rank", **JOB)
    slurm.run(slurm.until_task(1), 7)
    until_status(kube, "rank", jobState="Running")
    slurm.stop()
    kube.delete("trainingjobs", "rank")
    kube.until("trainingjobs", "rank", lambda job: job is None)
    (told,) = [each for each in kube.list("events") if each["reason"] == "SlurmJobAbandoned"]
    assert "Slurm job 7 could not be cancelled" in told["message"]


def test_what_slurm_cannot_do_is_refused(
    kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess
) -> None:
    kube.training("rank", **{**JOB, "slurm": {"endpoint": "https://slurm.example.org:6820"}})
    job = kube.until_condition("trainingjobs", "rank", "Stalled", "NotSupportedOnSlurm")
    assert "spec.slurm.endpoint" in condition(job, "Stalled")["message"]


def test_the_orchestrator_refuses(
    kube: Kube, slurm: StandInOrchestrator, trained: OperatorProcess, tmp_path: Path
) -> None:
    (tmp_path / "orchestrator-token").write_text("another")
    kube.training("rank", **JOB)
    job = kube.until_condition("trainingjobs", "rank", "Stalled", "JobRefused")
    assert "Unauthorized" in condition(job, "Stalled")["message"]
