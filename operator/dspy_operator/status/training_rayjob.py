"""From a RayJob's status to how the run stands. KubeRay's fields are explained in its RayJobStatus. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from dspy_operator import names
from dspy_operator.desired.rayjob import API_VERSION
from dspy_operator.status.conditions import parse_time
from dspy_operator.status.training import Run, State, again
from dspy_operator.store import Object

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_MESSAGE_MAX = 1024
_TRAINERS_FAULT = frozenset({"AppFailed"})
_PENDING_WORDS = {
    "": "KubeRay has not taken the RayJob up yet: is its operator running?",
    "Initializing": "Ray's pods are starting.",
    "Suspended": "The RayJob is suspended: a queue holds it until there is room.",
    "Suspending": "The RayJob is being suspended.",
    "Waiting": "The RayJob waits for its job to be submitted.",
}


def judge(job: Object, rayjob: Object) -> Run:
    """How the attempt that the RayJob makes stands. `job` is the TrainingJob, whose status has the last look."""
    run = _of(rayjob)
    if job["status"].get("attempts") != run.attempt:
        return run
    known = job["status"].get("startTime")
    # The same jobId, submitted anew after the head was lost: only the start of the job in Ray tells. Whole seconds.
    if known and run.started_at and run.started_at - parse_time(known) > timedelta(seconds=1):
        return again(run, "Ray lost the job's head and submitted the job again")
    return run


def _of(rayjob: Object) -> Run:
    status = rayjob.get("status") or {}
    deployment, ray_state = status.get("jobDeploymentStatus") or "", status.get("jobStatus") or ""
    state = _state(deployment, ray_state)
    reason, message = _words(state, status, deployment, ray_state)
    info = status.get("rayJobInfo") or {}
    suspended = deployment in ("", "Suspended", "Suspending")
    return Run(
        attempt=int((rayjob["metadata"].get("annotations") or {}).get(names.ANNOTATION_ATTEMPT, 1)),
        state=state,
        reason=reason,
        message=message,
        fields=_fields(rayjob, status),
        active_since=None if suspended else _time(status.get("startTime")),
        started_at=_time(info.get("startTime")),
        ended_at=_time(status.get("endTime")),
        infrastructure=state == "Failed" and reason not in _TRAINERS_FAULT,
    )


def _state(deployment: str, ray_state: str) -> State:
    if deployment == "Complete":
        return "Succeeded" if ray_state == "SUCCEEDED" else "Failed"
    # ValidationFailed is a dead end, as are the deadlines of KubeRay's own; Retrying is never asked for.
    if deployment in ("Failed", "ValidationFailed", "Retrying"):
        return "Failed"
    # With a submitter, the job's end is shown some seconds before KubeRay calls it complete.
    return "Running" if deployment == "Running" and ray_state not in ("", "PENDING") else "Queued"


def _words(state: State, status: Object, deployment: str, ray_state: str) -> tuple[str, str]:
    said = plain(str(status.get("message") or ""))
    if state == "Succeeded":
        return "Succeeded", "The trainer exited with code 0."
    if state == "Failed":
        reason = str(
            status.get("reason") or ("AppFailed" if ray_state == "FAILED" else deployment or "Failed")
        )
        return reason, said or f"KubeRay says {deployment}, Ray says {ray_state or 'nothing'}."
    if state == "Running":
        return "Running", "The trainer is running."
    words = _PENDING_WORDS.get(deployment, f"Ray has the job: {ray_state or 'not submitted yet'}.")
    return deployment or "Pending", f"{words} {said}".strip()


def _fields(rayjob: Object, status: Object) -> Object:
    name = rayjob["metadata"]["name"]
    fields: Object = {"backendRef": {"apiVersion": API_VERSION, "kind": "RayJob", "name": name}}
    if status.get("dashboardURL"):
        fields["dashboardURL"] = str(status["dashboardURL"])[:2048]
    return fields


def plain(text: str) -> str:
    """A message with the trainer's log in it, as a status can hold it: no colours, its first line and its last ones."""
    clean = _CONTROL.sub("", _ANSI.sub("", text)).strip()
    if len(clean) <= _MESSAGE_MAX:
        return clean
    first = clean.partition("\n")[0][:256]
    return f"{first}\n[...]\n{clean[-(_MESSAGE_MAX - len(first) - 7) :]}"


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
