"""From the orchestrator's task to how the run stands. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from dspy_operator.status.conditions import parse_time, timestamp
from dspy_operator.status.training import Run, State, again
from dspy_operator.status.training_rayjob import plain
from dspy_operator.store import Object

KIND = "OrchestratorTask"
_PLACE = re.compile(r"slurm job ([0-9]{1,18})")
_STATES: dict[str, State] = {
    "Queued": "Queued",
    "Running": "Running",
    "Waiting": "Running",
    "Succeeded": "Succeeded",
    "Failed": "Failed",
    "Cancelled": "Failed",
    "Dead": "Failed",
}
_HOW = {
    "TimedOut": "The trainer was ended at its time limit",
    "OOMKilled": "The trainer was ended for want of memory: ask for more with slurm.memoryPerNode",
}
# Why the orchestrator gives up following a job that may still run: it takes that up again.
_MAY_STILL_RUN = frozenset({"SlurmUnreachable", "SlurmAuth"})


def judge(job: Object, task: Object) -> Run:
    """How the attempt that the task makes stands. `job` is the TrainingJob, whose status has the last look."""
    status, result = job["status"], task.get("result") or {}
    slurm = result.get("slurm") or {}
    job_id = _job_id(task, slurm)
    state: State = _STATES.get(task["state"], "Queued")
    if state == "Running" and job_id is None:
        state = "Queued"  # the orchestrator has it under way, Slurm has not begun it
    reason, message = _words(state, task, result, slurm)
    fields: Object = {"backendRef": {"kind": KIND, "name": task["id"]}}
    if job_id is not None:
        fields["slurmJobId"] = job_id
    if slurm.get("state"):
        fields["slurmState"] = str(slurm["state"])[:64]
    # An orchestrator that takes a running job up begins an attempt of its own: the job's first start stands.
    began = _time(status.get("startTime") or task.get("started_at")) if job_id is not None else None
    run = Run(
        attempt=status["attempts"],
        state=state,
        reason=reason,
        message=message,
        fields=fields,
        active_since=began,
        started_at=began,
        ended_at=_time(task.get("finished_at")),
        infrastructure=task["state"] == "Dead",
    )
    if task["state"] in ("Cancelled", "Dead"):
        return run
    lost = _lost(task)
    if lost is not None:
        return _after(run, lost)
    known = status.get("slurmJobId")
    if known is not None and job_id is not None and job_id != known:
        return again(run, f"Slurm lost job {known} and job {job_id} was submitted in its place")
    return run


def _lost(task: Object) -> Object | None:
    """The first attempt of the orchestrator's whose job began and was lost: it submits another one by itself."""
    for each in task.get("history") or ():
        code = (each.get("error") or {}).get("code", "SlurmUnreachable")
        if _PLACE.fullmatch(each.get("place") or "") and code not in _MAY_STILL_RUN:
            return dict(each)
    return None


def _after(run: Run, lost: Object) -> Run:
    """The run, where another job is to be submitted in place of its own: that one would begin from the start."""
    because = plain(str(lost["error"].get("message") or lost["error"].get("code")))
    began = _time(lost.get("started_at"))
    known: Object = {} if began is None else {"startTime": timestamp(began)}
    found = _PLACE.fullmatch(lost["place"])
    if found is not None:
        known["slurmJobId"] = int(found[1])
    given_up = again(run, f"{lost['place'].capitalize()} ended ({because}) and another one takes its place")
    if given_up.state == "Succeeded":
        return given_up
    return replace(given_up, fields={**run.fields, **known})


def _job_id(task: Object, slurm: Object) -> int | None:
    if "job_id" in slurm:
        return int(slurm["job_id"])
    found = _PLACE.fullmatch(task.get("place") or "")
    return int(found[1]) if found else None


def _words(state: State, task: Object, result: Object, slurm: Object) -> tuple[str, str]:
    if state == "Queued":
        return "Queued", "The job waits in the orchestrator's queue or in Slurm's."
    if state == "Running":
        return "Running", "The trainer is running."
    if state == "Succeeded":
        return "Succeeded", "The trainer exited with code 0."
    fault = task.get("error") or {}
    reason = str(fault.get("code") or result.get("reason") or task["state"])
    said = str(fault.get("message") or "") or _ended(result, slurm)
    return reason, plain(said) or f"The orchestrator's task ended as {task['state']}."


def _ended(result: Object, slurm: Object) -> str:
    how = _HOW.get(str(result.get("reason")), "The trainer failed")
    if result.get("exit_code") is not None:
        how = f"The trainer exited with code {result['exit_code']}"
    if result.get("signal"):
        how = f"The trainer was ended by signal {result['signal']}"
    in_slurm = f" (Slurm says {slurm['state']})" if slurm.get("state") else ""
    return f"{how}{in_slurm}. {result.get('stderr') or ''}".strip()


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
