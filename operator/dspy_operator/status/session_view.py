"""The stages of an AgentSession, each as the conditions that hold in it. Pure.

A condition that is not true gives the same reason in every stage, so that a reason changes only with its news.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dspy_operator import names
from dspy_operator.errors import StalledError
from dspy_operator.reports import AgentReport
from dspy_operator.status import pods
from dspy_operator.status.conditions import Condition, is_true
from dspy_operator.store import Object, claimed_from

_SCHEDULED = Condition("Scheduled", "True", "PodScheduled", "The scheduler has found a node for the pod.")
_PREPARED = Condition("WorkspaceReady", "True", "WorkspacePrepared", "The workspace is fetched and set up.")
_NOT_RECONCILING = Condition("Reconciling", "False", "Settled")
_NOT_STALLED = Condition("Stalled", "False", "NotStalled")
_NOT_FINISHED = Condition("Finished", "False", "NotFinished")
NOT_SUSPENDED = Condition("Suspended", "False", "NotSuspended")


@dataclass(frozen=True)
class Finish:
    """A session's end. `outcome` is None where there was no task that could be solved or not."""

    reason: str
    message: str
    outcome: str | None
    report: AgentReport | None = None


@dataclass(frozen=True)
class View:
    """What a session's status should say, without bookkeeping; `look_again_s` is when time alone changes it."""

    phase: str
    conditions: tuple[Condition, ...]
    finish: Finish | None = None
    look_again_s: float | None = None
    fields: Object = field(default_factory=dict)
    waits_for_pool: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it says that the agent can be reached."""
        return any(each.type == "Ready" and each.status == "True" for each in self.conditions)


def waiting(reason: str, message: str, look_again_s: float | None) -> View:
    """Between two pods."""
    conditions = (
        Condition("Scheduled", "False", reason, message),
        Condition("WorkspaceReady", "False", reason, message),
        *_underway("Reconciling", reason, message),
    )
    return View("Starting", conditions, look_again_s=look_again_s)


def starting(pod: Object, reason: str, message: str, look_again_s: float | None) -> View:
    """With a pod that is not ready yet."""
    conditions = (*_reached(pod), *_underway("Reconciling", reason, message))
    return View("Starting", conditions, look_again_s=look_again_s, fields=_pod_fields(pod))


def stalled(error: StalledError, pod: Object | None = None) -> View:
    """Unable to go on until somebody changes something."""
    reached = _without_pod() if pod is None else _reached(pod)
    conditions = (*reached, *_underway("Stalled", error.reason, error.message))
    return View("Stalled", conditions, look_again_s=error.retry_s, fields=_pod_fields(pod))


def suspended(session: Object, pod: Object | None) -> View:
    """At the user's wish without a pod, or with one that is on its way out. The event log stays."""
    message = (
        "spec.operatingMode is Suspended: set it to Running, and the session goes on from its event log."
    )
    conditions = (
        Condition("Scheduled", "False", "Suspended", message),
        Condition("WorkspaceReady", "False", "Suspended", message),
        Condition("Ready", "False", "Suspended", message),
        _NOT_RECONCILING,
        _NOT_STALLED,
        _NOT_FINISHED,
        Condition("Suspended", "True", "Suspended" if pod is None else "Suspending", message),
    )
    return View("Suspended", conditions, fields=_given_back(session, pod))


def ready(pod: Object) -> View:
    """With an agent that can be reached and a workspace that is prepared."""
    message = "The agent is ready."
    for name in (names.CONTAINER_AGENT, names.CONTAINER_RUNNER):
        last = pods.ended_before(pod, name)
        if last is not None:
            message += f" Its {name} container was restarted {pods.restarts(pod, name)} times, last for {last.words}."
    conditions = (
        _SCHEDULED,
        _PREPARED,
        Condition("Ready", "True", "AgentReady", message),
        _NOT_RECONCILING,
        _NOT_STALLED,
        _NOT_FINISHED,
    )
    return View("Running", conditions, fields={**_pod_fields(pod), **_endpoint(pod)})


def finished(session: Object, finish: Finish, pod: Object | None) -> View:
    """At its end; what it had reached stays said."""
    conditions = (
        _scheduled_before(session, pod),
        _prepared_before(session, finish),
        Condition("Ready", "False", finish.reason, f"The session has finished. {finish.message}"),
        _NOT_RECONCILING,
        _stalled_for_good(finish),
        Condition("Finished", "True", finish.reason, finish.message),
    )
    return View(finish.outcome or "Finished", conditions, finish=finish, fields=_pod_fields(pod))


def _stalled_for_good(finish: Finish) -> Condition:
    """An error is nothing that more work of ours would mend: somebody has to change something."""
    if finish.outcome != "Error":
        return _NOT_STALLED
    return Condition("Stalled", "True", finish.reason, finish.message)


def _underway(kind: str, reason: str, message: str) -> tuple[Condition, ...]:
    other = _NOT_STALLED if kind == "Reconciling" else _NOT_RECONCILING
    return (
        Condition("Ready", "False", reason, message),
        Condition(kind, "True", reason, message),
        other,
        _NOT_FINISHED,
    )


def _reached(pod: Object) -> tuple[Condition, ...]:
    return (
        _scheduled(pod),
        Condition("WorkspaceReady", "False", "Preparing", "The workspace is not prepared yet."),
    )


def _scheduled(pod: Object) -> Condition:
    said = pods.condition(pod, "PodScheduled")
    if said.get("status") == "True":
        return _SCHEDULED
    words = str(said.get("message") or "The pod waits for the scheduler.")
    return Condition("Scheduled", "False", str(said.get("reason") or "Pending"), words)


def _without_pod() -> tuple[Condition, ...]:
    return (
        Condition("Scheduled", "False", "NoPod", "The session has no pod."),
        Condition("WorkspaceReady", "False", "NoPod", "The session has no pod."),
    )


def _scheduled_before(session: Object, pod: Object | None) -> Condition:
    if is_true(session, "Scheduled") or (pod is not None and pod["spec"].get("nodeName")):
        return _SCHEDULED
    return Condition("Scheduled", "False", "NeverScheduled", "The session ended before its pod had a node.")


def _prepared_before(session: Object, finish: Finish) -> Condition:
    if is_true(session, "WorkspaceReady") or finish.outcome in ("Solved", "Unsolved"):
        return _PREPARED
    message = "The session ended before its workspace was prepared."
    return Condition("WorkspaceReady", "False", "NeverPrepared", message)


def _given_back(session: Object, pod: Object | None) -> Object:
    """Counts of pods, and no name of one. A suspension that takes a pod counts once, when the status first says so."""
    status = session["status"]
    attempts = status.get("attempts", 0) if pod is None else pods.attempt_of(pod)
    if attempts == 0:
        return {"suspensions": 0}
    new = 0 if pod is None or is_true(session, "Suspended") else 1
    return {"attempts": attempts, "suspensions": status.get("suspensions", 0) + new}


def _pod_fields(pod: Object | None) -> Object:
    if pod is None:
        return {}
    metadata = pod["metadata"]
    made: Object = {
        "podName": metadata["name"],
        "attempts": pods.attempt_of(pod),
        "launchType": "Cold" if claimed_from(pod) is None else "Warm",
    }
    reason = (metadata.get("annotations") or {}).get(names.ANNOTATION_LAUNCH_REASON)
    if reason:
        made["launchReason"] = reason
    if pods.is_bound(pod):
        made["nodeName"] = pod["spec"]["nodeName"]
    return made


def _endpoint(pod: Object) -> Object:
    endpoint = pods.endpoint(pod)
    return {"endpoint": endpoint} if endpoint else {}
