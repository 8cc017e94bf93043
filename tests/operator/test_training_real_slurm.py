"""TrainingJob on a real Slurm, through the real orchestrator and RedDB, with a trainer that really trains."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.charts.apiserver import Apiserver
from tests.operator import real_slurm, small_trainer
from tests.operator.kube import Kube
from tests.operator.process import OperatorProcess
from tests.operator.real_slurm import RealSlurm
from tests.operator.test_training_ray import until_checkpoint, until_status

pytestmark = [
    pytest.mark.skipif(
        bool(real_slurm.missing()), reason=f"not installed: {', '.join(real_slurm.missing())}"
    ),
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSlurm]:
    yield from real_slurm.running(tmp_path_factory.mktemp("slurm"))


@pytest.fixture
def trained(apiserver: Apiserver, kube: Kube, slurm: RealSlurm, tmp_path: Path) -> Iterator[OperatorProcess]:
    env = {
        "DSPY_OPERATOR_TRAINING_POLL_SECONDS": "0.5",
        "DSPY_OPERATOR_ORCHESTRATOR_URL": slurm.url,
        "DSPY_OPERATOR_ORCHESTRATOR_TOKEN_FILE": str(slurm.token_file),
    }
    with OperatorProcess(apiserver.kubeconfig, kube.namespace, tmp_path, env=env) as process:
        yield process


def job(folder: Path, *gate: str) -> dict[str, Any]:
    folder.mkdir()
    command = [sys.executable, small_trainer.__file__, str(folder), "20", *gate]
    return {
        "backend": "Slurm",
        "policy": {"ranker": {}},
        "environment": {"tasks": {"generator": {"name": "points"}}},
        "trainer": {"command": command},
        "checkpoint": {"storageUri": folder.as_uri()},
        "slurm": {"timeLimit": "5", "cpusPerTask": 1},
    }


def test_trains(kube: Kube, slurm: RealSlurm, trained: OperatorProcess, tmp_path: Path) -> None:
    kube.training("rank", **job(tmp_path / "checkpoints"))
    status = kube.until_condition("trainingjobs", "rank", "Complete", "Succeeded")["status"]
    assert status["progress"]["percent"] == 100
    assert status["checkpoint"]["step"] == 20
    assert status["slurmState"] == "COMPLETED"
    curve = [float(point["value"]) for point in status["progress"]["curve"]]
    assert len(curve) == 20
    assert curve[-1] > 0.9


def test_a_job_that_was_lost_resumes(
    kube: Kube, slurm: RealSlurm, trained: OperatorProcess, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    kube.training("rank", **job(tmp_path / "checkpoints", str(gate)), backoffLimit=1)
    until_checkpoint(kube, "rank", 10)
    first = until_status(kube, "rank", jobState="Running")["status"]["slurmJobId"]
    gate.touch()
    slurm.command("scancel", "--full", "--signal=KILL", str(first))
    status = kube.until_condition("trainingjobs", "rank", "Complete", "Succeeded")["status"]
    assert status["attempts"] == 2
    assert status["slurmJobId"] != first
    assert [point["step"] for point in status["progress"]["curve"]] == list(range(1, 21))


def test_suspended_and_resumed_over_a_restart_of_the_operator(
    kube: Kube, slurm: RealSlurm, trained: OperatorProcess, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    kube.training("rank", **job(tmp_path / "checkpoints", str(gate)))
    until_checkpoint(kube, "rank", 10)
    trained.kill()
    kube.patch("trainingjobs", "rank", {"spec": {"suspend": True}})
    trained.start()
    kube.until_condition("trainingjobs", "rank", "Suspended")
    assert slurm.command("squeue", "-h", "-t", "RUNNING,PENDING").strip() == ""
    gate.touch()
    kube.patch("trainingjobs", "rank", {"spec": {"suspend": False}})
    status = kube.until_condition("trainingjobs", "rank", "Complete", "Succeeded")["status"]
    assert (status["attempts"], status["checkpoint"]["step"]) == (2, 20)


def test_deleted(kube: Kube, slurm: RealSlurm, trained: OperatorProcess, tmp_path: Path) -> None:
    kube.training("rank", **job(tmp_path / "checkpoints", str(tmp_path / "never")))
    until_checkpoint(kube, "rank", 10)
    kube.delete("trainingjobs", "rank")
    kube.until("trainingjobs", "rank", lambda seen: seen is None)
    assert slurm.command("squeue", "-h", "-t", "RUNNING,PENDING").strip() == ""
