"""From an AgentSession and its pod to its status. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from dspy_operator import names
from dspy_operator.errors import ReportInvalidError, StalledError
from dspy_operator.reports import AgentReport, agent_report
from dspy_operator.status import pods
from dspy_operator.status.conditions import Condition, is_true, timestamp
from dspy_operator.store import Object

MAX_LOST_PODS = 6
MAX_AGENT_RESTARTS = 6
_DEFAULT_READY_DEADLINE_S = 600.0


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


def observe(session: Object, pod: Object, now: datetime) -> View:
    """The view of a session that has a pod."""
    finish = finish_of(session, pod)
    if finish is not None:
        return finished(session, finish, pod)
    if pods.condition(pod, "Ready").get("status") == "True" and not pods.is_deleting(pod):
        return _ready(pod)
    trouble = pods.trouble(pod)
    if trouble is not None and not (trouble.container == names.CONTAINER_AGENT and _crash_loops(trouble)):
        return _stalled(pod, trouble.reason, f"Container {trouble.container}: {trouble.message}")
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


def stalled(error: StalledError, pod: Object | None = None) -> View:
    """The view of a session that cannot go on until somebody changes something."""
    if pod is not None:
        return _stalled(pod, error.reason, error.message)
    conditions = (
        Condition("Scheduled", "False", "NoPod", "The session has no pod."),
        Condition("WorkspaceReady", "False", "NoPod", "The session has no pod."),
        *_progress("Stalled", error.reason, error.message),
    )
    return View("Stalled", conditions, look_again_s=error.retry_s)


def waiting(reason: str, message: str, look_again_s: float | None) -> View:
    """The view of a session between two pods."""
    conditions = (
        Condition("Scheduled", "False", reason, message),
        Condition("WorkspaceReady", "False", reason, message),
        *_progress("Reconciling", reason, message),
    )
    return View("Starting", conditions, look_again_s=look_again_s)


def finished(session: Object, finish: Finish, pod: Object | None) -> View:
    """The view of a session that has ended; what it had reached stays said."""
    conditions = (
        _was(session, "Scheduled", pod is not None and bool(pod["spec"].get("nodeName"))),
        _was(session, "WorkspaceReady", finish.outcome in ("Solved", "Unsolved")),
        Condition("Ready", "False", "Finished", "The session has finished."),
        Condition("Reconciling", "False", "Finished", ""),
        Condition("Stalled", "False", "Finished", ""),
        Condition("Finished", "True", finish.reason, finish.message),
    )
    return View(finish.outcome or "Finished", conditions, finish=finish, fields=_pod_fields(pod))


def status(session: Object, view: View, now: datetime) -> Object:
    """The status fields beside conditions: times stay as first written, absent fields stay absent."""
    stored = session["status"]
    made: Object = {
        "phase": view.phase,
        "observedGeneration": session["metadata"]["generation"],
        **_policy(session),
        **{
            name: stored[name] for name in ("podName", "nodeName", "endpoint", "launchType") if name in stored
        },
        **view.fields,
        **{name: stored[name] for name in ("startTime", "readyTime", "finishTime") if name in stored},
    }
    if "podName" in made:
        made.setdefault("startTime", timestamp(now))
        made["launchType"] = "Cold"
    if any(c.type == "Ready" and c.status == "True" for c in view.conditions):
        made.setdefault("readyTime", timestamp(now))
    if view.finish is not None:
        made.setdefault("finishTime", timestamp(now))
        if view.finish.outcome is not None:
            made["result"] = _result(view.finish)
    return made


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


def _ready(pod: Object) -> View:
    message = "The agent is ready."
    for name in (names.CONTAINER_AGENT, names.CONTAINER_RUNNER):
        last = pods.ended_before(pod, name)
        if last is not None:
            message += f" Its {name} container was restarted {pods.restarts(pod, name)} times, last for {last.words}."
    conditions = (
        Condition("Scheduled", "True", "PodScheduled", ""),
        Condition("WorkspaceReady", "True", "WorkspacePrepared", ""),
        Condition("Ready", "True", "AgentReady", message),
        Condition("Reconciling", "False", "AgentReady", ""),
        Condition("Stalled", "False", "AgentReady", ""),
        Condition("Finished", "False", "Running", ""),
    )
    return View("Running", conditions, fields=_pod_fields(pod))


def _starting(session: Object, pod: Object, now: datetime) -> View:
    reason, message = _progress_words(pod)
    deadline_s = ready_deadline_s(session)
    left_s = deadline_s - (now - pods.created_at(pod)).total_seconds()
    if left_s <= 0:
        said = f"Not ready within {deadline_s:.0f} s: {message}"
        return _stalled(pod, "ReadyDeadlineExceeded" if reason == "PodStarting" else reason, said)
    conditions = (*_reached(pod), *_progress("Reconciling", reason, message))
    return View("Starting", conditions, look_again_s=left_s, fields=_pod_fields(pod))


def _progress_words(pod: Object) -> tuple[str, str]:
    last = pods.ended(pod, names.CONTAINER_AGENT) or pods.ended_before(pod, names.CONTAINER_AGENT)
    if pods.is_deleting(pod):
        return "PodTerminating", "The session's pod is being deleted; a new one follows when it is gone."
    if last is not None:
        return (
            "AgentRestarting",
            f"The agent container ended with {last.words}; it starts again and reads its log.",
        )
    scheduled = pods.condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return str(scheduled.get("reason") or "Unschedulable"), str(scheduled.get("message") or "")
    if not pods.container(pod, names.CONTAINER_AGENT).get("started"):
        return "PodStarting", "The pod's containers are starting."
    return "PodStarting", "The agent prepares the workspace."


def _stalled(pod: Object, reason: str, message: str) -> View:
    conditions = (*_reached(pod), *_progress("Stalled", reason, message))
    return View("Stalled", conditions, fields=_pod_fields(pod))


def _reached(pod: Object) -> tuple[Condition, ...]:
    scheduled = pods.condition(pod, "PodScheduled")
    if scheduled.get("status") == "True":
        first = Condition("Scheduled", "True", "PodScheduled", "")
    else:
        words = str(scheduled.get("message") or "The pod waits for the scheduler.")
        first = Condition("Scheduled", "False", str(scheduled.get("reason") or "Pending"), words)
    return first, Condition("WorkspaceReady", "False", "Preparing", "The workspace is not prepared yet.")


def _progress(kind: str, reason: str, message: str) -> tuple[Condition, ...]:
    other = "Stalled" if kind == "Reconciling" else "Reconciling"
    return (
        Condition("Ready", "False", reason, message),
        Condition(kind, "True", reason, message),
        Condition(other, "False", reason, ""),
        Condition("Finished", "False", "Running" if kind == "Reconciling" else reason, ""),
    )


def _was(session: Object, kind: str, surely: bool) -> Condition:
    reached = surely or is_true(session, kind)
    return Condition(kind, "True" if reached else "False", "Finished", "")


def _pod_fields(pod: Object | None) -> Object:
    if pod is None:
        return {}
    node, address = pod["spec"].get("nodeName"), pod["status"].get("podIP")
    made = {"podName": pod["metadata"]["name"]}
    if node:
        made["nodeName"] = node
    if address and pods.condition(pod, "Ready").get("status") == "True":
        made["endpoint"] = f"http://[{address}]:9000" if ":" in address else f"http://{address}:9000"
    return made


def _policy(session: Object) -> Object:
    shown = {"search": "Search", "llm": "LLM", "trainingJobRef": "Trained"}
    for name in session["spec"].get("policy", {}):
        return {"policy": shown[name]}
    return {}


def _result(finish: Finish) -> Object:
    result: Object = {"outcome": finish.outcome, "reason": finish.reason, "summary": finish.message}
    report = finish.report
    if report is None:
        return result
    optional = {"checkExitCode": report.check_exit_code, "patchRef": report.patch_ref}
    result.update({name: value for name, value in optional.items() if value is not None})
    return {**result, "turns": report.turns, "tokens": report.tokens, "seconds": report.seconds}


def _crash_loops(trouble: pods.Trouble) -> bool:
    return trouble.reason == "ContainerCrashLooping"
