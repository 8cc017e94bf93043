"""What backends show, as the run that it makes."""

from __future__ import annotations

from typing import Any

import pytest
from dspy_operator.status import training_rayjob, training_slurm
from dspy_operator.store import Object

STARTED = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T01:00:00Z"
JOB: Object = {"spec": {}, "status": {"attempts": 1, "startTime": STARTED, "slurmJobId": 7}}
LOST = {"code": "SlurmNodeFailed", "message": "Slurm lost the job on n1 (NODE_FAIL)"}


def rayjob(ended: str, started: str) -> Object:
    status = {"jobDeploymentStatus": "Complete", "jobStatus": ended, "rayJobInfo": {"startTime": started}}
    return {"metadata": {"name": "rank"}, "status": status}


def task(state: str, job: int, history: tuple[Object, ...] = (), /, **result: Any) -> Object:
    slurm = {"job_id": job, "state": "COMPLETED" if state == "Succeeded" else "FAILED"}
    return {"id": "t", "state": state, "history": history, "result": {**result, "slurm": slurm}}


def test_a_second_time_of_rays_that_failed_unseen_is_no_failure_of_the_trainers() -> None:
    run = training_rayjob.judge(JOB, rayjob("FAILED", LATER))
    assert (run.reason, run.infrastructure) == ("RestartedByBackend", True)
    assert training_rayjob.judge(JOB, rayjob("FAILED", STARTED)).reason == "AppFailed"


def test_a_second_time_of_rays_that_succeeded_unseen_says_so() -> None:
    run = training_rayjob.judge(JOB, rayjob("SUCCEEDED", LATER))
    assert run.state == "Succeeded"
    assert "began again from the start" in run.message
    assert "again" not in training_rayjob.judge(JOB, rayjob("SUCCEEDED", STARTED)).message


def test_another_slurm_job_that_ended_unseen() -> None:
    history = ({"number": 1, "place": "slurm job 7", "started_at": STARTED, "error": LOST},)
    failed = training_slurm.judge(JOB, task("Failed", 8, history, exit_code=1))
    assert (failed.reason, failed.infrastructure) == ("RestartedByBackend", True)
    succeeded = training_slurm.judge(JOB, task("Succeeded", 8, history))
    assert (succeeded.state, succeeded.fields["slurmJobId"]) == ("Succeeded", 8)
    assert "began again from the start" in succeeded.message


def test_a_job_that_the_orchestrator_takes_up_again_is_the_same() -> None:
    fault = {"code": "SlurmUnreachable", "message": "the orchestrator is stopping"}
    history = [{"number": 1, "place": "slurm job 7", "started_at": STARTED, "error": fault}]
    shown = {"id": "t", "state": "Running", "place": "slurm job 7", "started_at": LATER, "history": history}
    run = training_slurm.judge(JOB, shown)
    assert run.state == "Running"
    assert run.active_since is not None
    assert run.active_since.hour == 0


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"reason": "TimedOut"}, "ended at its time limit"),
        ({"reason": "OOMKilled"}, "want of memory"),
        ({"reason": "Signaled", "signal": 9}, "signal 9"),
        ({"reason": "NonZeroExit", "exit_code": 3}, "exited with code 3"),
        ({"reason": "NonZeroExit"}, "The trainer failed"),
    ],
)
def test_how_a_trainer_ended_on_slurm(result: Object, said: str) -> None:
    run = training_slurm.judge(JOB, task("Failed", 7, **result))
    assert said in run.message
    assert "None" not in run.message
