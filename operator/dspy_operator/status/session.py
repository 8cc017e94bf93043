"""From an AgentSession and its pod to the stage that it is in. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from dspy_operator import names
from dspy_operator.errors import ReportInvalidError, StalledError
from dspy_operator.reports import agent_report
from dspy_operator.status import pods
from dspy_operator.status.conditions import find, is_true, parse_time
from dspy_operator.status.session_view import Finish, View, finished, ready, stalled, starting, waiting
from dspy_operator.store import Object

MAX_LOST_PODS = 6
MAX_AGENT_RESTARTS = 6
_FORGIVEN_AFTER_S = 600.0
_DEFAULT_READY_DEADLINE_S = 600.0
# Words of ours for a wait: beyond its deadline only the deadline is left to tell. The others' words say more.
_OURS = frozenset({"PodStarting", "PodUnready"})


def observe(session: Object, pod: Object, now: datetime) -> View:
    """The view of a session that has a pod."""
    finish = finish_of(session, pod)
    if finish is not None:
        return finished(session, finish, pod)
    if pods.is_ready(pod):
        return ready(pod)
    trouble = pods.trouble(pod)
    if trouble is not None and not (trouble.container == names.CONTAINER_AGENT and _crash_loops(trouble)):
        return stalled(StalledError(trouble.reason, f"Container {trouble.container}: {trouble.message}"), pod)
    return _starting(session, pod, now)


def finish_of(session: Object, pod: Object) -> Finish | None:
    """How the session ended, if its pod shows that it did."""
    ended = pods.ended(pod, names.CONTAINER_AGENT)
    if ended is not None and ended.exit_code == 0:
        # An agent that was told to stop ends well and says nothing: its pod is lost, the session is not over.
        interrupted = pods.is_deleting(pod) or pods.phase(pod) == "Failed"
        return None if interrupted and not ended.message else _reported(session, ended)
    last = ended or pods.ended_before(pod, names.CONTAINER_AGENT)
    if last is not None and pods.restarts(pod, names.CONTAINER_AGENT) >= MAX_AGENT_RESTARTS:
        message = (
            f"The agent container was restarted {MAX_AGENT_RESTARTS} times and ended again with {last.words}."
        )
        return Finish("InfraError", message, "Error")
    return None


def without_warm_pod(session: Object, pool: Object, why: str, since: datetime | None, now: datetime) -> View:
    """The view of a session that waits for a pool's pod. `why` there is none, in a sentence; `since` when it is known
    to wait.
    """
    message, trouble = why, find(pool, "Stalled")
    if trouble is not None and trouble["status"] == "True" and trouble["reason"] != "AgentUnreachable":
        message += f" The pool is stalled: {trouble['message']}"
    stored = find(session, "Stalled") or {}
    # Said before a restart of the operator, which knows no longer since when it is so.
    is_overdue = (stored.get("status"), stored.get("reason")) == ("True", "WaitingForWarmPod")
    left_s = ready_deadline_s(session) - (now - (since or now)).total_seconds()
    if left_s <= 0 or is_overdue:
        said = f"{message} Raise its spec.replicas, or create the session again with pooling Prefer."
        return replace(stalled(StalledError("WaitingForWarmPod", said)), waits_for_pool=True)
    return replace(waiting("WaitingForWarmPod", message, left_s), waits_for_pool=True)


def losses(session: Object, attempts: int) -> int:
    """How many of so many pods count as lost: neither given back by a suspension nor forgiven."""
    status = session["status"]
    return attempts - int(status.get("suspensions", 0)) - int(status.get("forgivenPods", 0))


def forgive(session: Object, pod: Object, seen: View, now: datetime) -> View:
    """The view in which the pods that were lost count no longer, where the one after them was Ready for long."""
    earlier = losses(session, pods.attempt_of(pod) - 1)
    if not seen.is_ready or earlier <= 0:
        return seen
    stored = find(session, "Ready") if is_true(session, "Ready") else None
    # A warm pod was ready before it was the session's.
    ready_at = now if stored is None else parse_time(stored["lastTransitionTime"])
    left_s = _FORGIVEN_AFTER_S - (now - pods.latest(_turned_at(pod), ready_at)).total_seconds()
    if left_s > 0:
        return replace(seen, look_again_s=min(left_s, seen.look_again_s or left_s))
    forgiven = session["status"].get("forgivenPods", 0) + earlier
    return replace(seen, fields={**seen.fields, "forgivenPods": forgiven})


def ready_deadline_s(session: Object) -> float:
    """Seconds that a pod may take to get ready."""
    lifecycle = session["spec"].get("lifecycle", {})
    return float(lifecycle.get("readyDeadlineSeconds", _DEFAULT_READY_DEADLINE_S))


def _reported(session: Object, ended: pods.Termination) -> Finish:
    if "task" not in session["spec"] and not ended.message:
        return Finish("AgentExited", "The agent ended the session.", None)
    try:
        report = agent_report(ended.message)
    except ReportInvalidError as error:
        return Finish(
            "AgentReportInvalid", f"The agent ended, but its report cannot be read: {error}.", "Error"
        )
    return Finish(report.reason, report.message, report.outcome, report)


def _starting(session: Object, pod: Object, now: datetime) -> View:
    reason, message = _progress_words(pod)
    deadline_s = ready_deadline_s(session)
    left_s = deadline_s - (now - _turned_at(pod)).total_seconds()
    if left_s <= 0:
        said = f"Not ready for {deadline_s:.0f} s: {message}"
        return stalled(StalledError("ReadyDeadlineExceeded" if reason in _OURS else reason, said), pod)
    return starting(pod, reason, message, left_s)


def _turned_at(pod: Object) -> datetime:
    """When the pod's readiness last changed: each time that it stops being ready, the wait for it begins anew."""
    return pods.latest(pods.created_at(pod), pods.changed_at(pod, "Ready"), pods.deleted_at(pod))


def _progress_words(pod: Object) -> tuple[str, str]:
    if pods.is_deleting(pod):
        return "PodTerminating", "The session's pod is being deleted; a new one follows when it is gone."
    started = pods.running_since(pod, names.CONTAINER_AGENT)
    if started is not None and _turned_at(pod) > started:
        words = pods.condition(pod, "Ready").get("message") or "a container does not answer its probe"
        return "PodUnready", f"The pod is no longer ready: {words}."
    last = pods.ended(pod, names.CONTAINER_AGENT) or pods.ended_before(pod, names.CONTAINER_AGENT)
    if last is not None:
        return (
            "AgentRestarting",
            f"The agent container ended with {last.words}; it starts again and reads its log.",
        )
    scheduled = pods.condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return str(scheduled.get("reason") or "Unschedulable"), str(scheduled.get("message") or "")
    if started is None:
        return "PodStarting", "The pod's containers are starting."
    return "PodStarting", "The agent prepares the workspace."


def _crash_loops(trouble: pods.Trouble) -> bool:
    return trouble.reason == "ContainerCrashLooping"
