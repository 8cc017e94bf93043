"""From the pod of one attempt to how that attempt went, and from there to an EnvTask's status. Pure.

The command's failures and ours are told apart here and nowhere else: exit code 125 with an error, an eviction, an image
that cannot be pulled or a lost node say nothing about the command.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from dspy_operator import names
from dspy_operator.desired.envtask_pod import DEFAULT_TIMEOUT_S
from dspy_operator.errors import ReportInvalidError
from dspy_operator.reports import RunnerReport, runner_report, workspace_report
from dspy_operator.status import pods
from dspy_operator.status.conditions import Condition, parse_time, timestamp
from dspy_operator.store import Object

START_DEADLINE_S = 300.0
_DEFAULT_TAIL_BYTES = 2048
_OVERRUN_S = 60.0
_LOST_AFTER_S = 60.0
# What no further attempt can mend: the spec itself is at fault.
_FATAL_CODES = frozenset({"CannotStart", "BadRequest", "NetworkNotAllowed", "WorkspaceInvalid"})


class Kind(enum.Enum):
    """Whose success or failure an attempt was."""

    SUCCEEDED = enum.auto()
    COMMAND = enum.auto()  # the command failed: counts against backoffLimit
    INFRA = enum.auto()  # we failed: retried apart from backoffLimit
    FATAL = enum.auto()  # the spec cannot work: not retried


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. `report` is the runner's, where it could be read."""

    kind: Kind
    reason: str
    message: str
    report: RunnerReport | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Progress:
    """An attempt under way: what it waits for, and when time alone would end it."""

    phase: str
    reason: str
    message: str
    look_again_s: float | None


def judge(task: Object, pod: Object, now: datetime) -> Outcome | Progress:
    """How the attempt that the pod makes stands."""
    ended = pods.ended(pod, names.CONTAINER_TASK)
    if ended is not None:
        return _of_task(pod, ended)
    if pods.phase(pod) in ("Failed", "Succeeded"):
        return _of_init(pod) or _infra(pods.loss(pod), pods.last_transition(pod))
    if pods.is_deleting(pod):
        return _deleting(pod, now)
    started = pods.running_since(pod, names.CONTAINER_TASK)
    if started is not None:
        return _running(task, started, now)
    return _starting(pod, now)


def conditions(kind: str, reason: str, message: str) -> tuple[Condition, ...]:
    """All conditions of a task, of which `kind` is the true one."""
    return tuple(
        Condition(each, "True" if each == kind else "False", reason, message if each == kind else "")
        for each in ("Complete", "Failed", "Reconciling", "Stalled", "Suspended")
    )


def result_fields(task: Object, outcome: Outcome, now: datetime) -> Object:
    """Status fields that tell the end."""
    made: Object = {
        "reason": outcome.reason,
        "message": outcome.message[:4096],
        "completionTime": timestamp(outcome.at or now),
    }
    report = outcome.report
    if report is None or report.error is not None:
        return made
    usage = report.usage
    made["durationSeconds"] = usage.wall_ms / 1000
    made["usage"] = {
        "wallMilliseconds": usage.wall_ms,
        "userMilliseconds": usage.user_ms,
        "systemMilliseconds": usage.system_ms,
        "maxRssBytes": usage.max_rss_bytes,
    }
    made["isolation"] = list(dict.fromkeys(report.isolation))
    optional = {"exitCode": report.exit_code, "signal": report.signal}
    made.update({name: value for name, value in optional.items() if value is not None})
    keep = task["spec"].get("output", {}).get("maxTailBytes", _DEFAULT_TAIL_BYTES)
    tails = {"stdoutTail": _tail(report.stdout_tail, keep), "stderrTail": _tail(report.stderr_tail, keep)}
    made.update({name: tail for name, tail in tails.items() if tail})
    return made


def _tail(text: str, keep_bytes: int) -> str:
    data = text.encode()
    return data[max(0, len(data) - keep_bytes) :].decode(errors="ignore")


def _of_task(pod: Object, ended: pods.Termination) -> Outcome:
    at = pods.ended_at(pod, names.CONTAINER_TASK)
    killed_for_memory = ended.reason == "OOMKilled"
    try:
        report = runner_report(ended.message)
    except ReportInvalidError as error:
        if killed_for_memory:
            return Outcome(Kind.COMMAND, "OOMKilled", "The container exceeded its memory limit.", None, at)
        return _infra(f"The runner ended with {ended.words} without a readable result: {error}.", at)
    return _of_report(pod, report, killed_for_memory, at)


def _of_report(pod: Object, report: RunnerReport, killed_for_memory: bool, at: datetime | None) -> Outcome:
    if report.error is not None:
        said = f"{report.error.code}: {report.error.message}"
        fatal = report.error.code in _FATAL_CODES
        return Outcome(Kind.FATAL, report.error.code, said, report, at) if fatal else _infra(said, at)
    if report.reason == "Completed":
        return Outcome(Kind.SUCCEEDED, "Completed", "The command exited with code 0.", report, at)
    if report.reason == "Cancelled":
        return _infra(f"The command was cut off: {pods.loss(pod)}.", at)
    if report.reason == "OOMKilled" or (report.signal == 9 and killed_for_memory):
        return Outcome(Kind.COMMAND, "OOMKilled", "The command exceeded its memory limit.", report, at)
    timed_out = report.reason == "TimedOut"
    said = "The command exceeded spec.timeoutSeconds." if timed_out else _exit_words(report)
    return Outcome(Kind.COMMAND, "TimedOut" if timed_out else "NonZeroExit", said, report, at)


def _exit_words(report: RunnerReport) -> str:
    if report.signal is not None:
        return f"The command was ended by signal {report.signal}."
    return f"The command exited with code {report.exit_code}."


def _of_init(pod: Object) -> Outcome | None:
    for name in (names.CONTAINER_INSTALL, names.CONTAINER_WORKSPACE, names.CONTAINER_SETUP):
        ended = pods.ended(pod, name)
        if ended is None or ended.exit_code == 0:
            continue
        if name == names.CONTAINER_WORKSPACE:
            return _of_workspace(ended)
        if name == names.CONTAINER_SETUP:
            return _of_setup(ended)
        return _infra(f"Container {name} ended with {ended.words}: {ended.message}")
    return None


def _of_workspace(ended: pods.Termination) -> Outcome:
    try:
        report = workspace_report(ended.message)
    except ReportInvalidError:
        return _infra(f"The workspace could not be prepared: {ended.words}. {ended.message}")
    if report.reason in _FATAL_CODES:
        return Outcome(Kind.FATAL, report.reason, report.message)
    return _infra(f"{report.reason}: {report.message}")


def _of_setup(ended: pods.Termination) -> Outcome:
    try:
        report = runner_report(ended.message)
    except ReportInvalidError:
        return _infra(f"The setup command's container ended with {ended.words}. {ended.message}")
    if report.error is not None and report.error.code not in _FATAL_CODES:
        return _infra(f"Setup: {report.error.code}: {report.error.message}")
    said = (
        report.error.message
        if report.error is not None
        else f"{_exit_words(report)} {report.stderr_tail}".strip()
    )
    return Outcome(Kind.FATAL, "SetupFailed", f"The workspace's setup command failed. {said}")


def _deleting(pod: Object, now: datetime) -> Outcome | Progress:
    # deletionTimestamp already includes the grace period. A pod that outlives it by much sits on a node that is gone.
    left_s = _LOST_AFTER_S - (now - parse_time(pod["metadata"]["deletionTimestamp"])).total_seconds()
    if left_s <= 0:
        return _infra(f"The pod's node {pod['spec'].get('nodeName')} does not answer.")
    return Progress("Running", "PodTerminating", "The attempt's pod is being deleted.", left_s)


def _running(task: Object, started: datetime, now: datetime) -> Outcome | Progress:
    limit = timedelta(seconds=task["spec"].get("timeoutSeconds", DEFAULT_TIMEOUT_S) + _OVERRUN_S)
    left_s = (started + limit - now).total_seconds()
    if left_s <= 0:
        return _infra("The runner did not end the command after its timeout.")
    return Progress("Running", "Running", "The command is running.", left_s)


def _starting(pod: Object, now: datetime) -> Outcome | Progress:
    trouble = pods.trouble(pod)
    scheduled = pods.condition(pod, "PodScheduled")
    reason, message = "PodStarting", "The pod's containers are starting."
    if trouble is not None:
        reason, message = trouble.reason, f"Container {trouble.container}: {trouble.message}"
    elif scheduled.get("status") == "False":
        reason, message = str(scheduled.get("reason") or "Unschedulable"), str(scheduled.get("message") or "")
    elif any(pods.running_since(pod, name) for name in (names.CONTAINER_WORKSPACE, names.CONTAINER_SETUP)):
        # Fetching and setup have their own timeouts; the start deadline is for what never begins.
        return Progress("Pending", "PreparingWorkspace", "The workspace is being prepared.", None)
    left_s = START_DEADLINE_S - (now - pods.created_at(pod)).total_seconds()
    if left_s <= 0:
        return _infra(f"The pod did not start within {START_DEADLINE_S:.0f} s: {message}")
    return Progress("Pending", reason, message, left_s)


def _infra(message: str, at: datetime | None = None) -> Outcome:
    return Outcome(Kind.INFRA, "InfraError", message, None, at)
