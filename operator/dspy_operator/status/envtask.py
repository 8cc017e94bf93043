"""From the pod of one attempt at an EnvTask to how that attempt stands. Pure.

The command's failures and ours are told apart here, and ours by whether the command can have begun: running a command
twice has effects that others see, so only an attempt that surely never began is repeated unasked.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from dspy_operator import names
from dspy_operator.desired.envtask_pod import DEFAULT_TIMEOUT_S, OVERRUN_S, START_DEADLINE_S
from dspy_operator.errors import ReportInvalidError
from dspy_operator.reports import RunnerReport, runner_report
from dspy_operator.status import pods
from dspy_operator.status.conditions import parse_time
from dspy_operator.status.envtask_init import FATAL_CODES, exit_words, judge_init
from dspy_operator.status.outcome import Kind, Outcome, Progress, ours
from dspy_operator.store import Object

_LOST_AFTER_S = 60.0
_PREPARING = (names.CONTAINER_WORKSPACE, names.CONTAINER_SETUP)
# The runner's errors of which it says itself that the command was not started; of any other nobody can be sure.
_NOT_STARTED_CODES = frozenset({"IsolationUnavailable"})
_WORDS = {
    "TimedOut": "The command exceeded spec.timeoutSeconds.",
    "OOMKilled": "The command exceeded its memory limit.",
    "ProcessLimit": "The command started more processes than it may have.",
}


def judge(task: Object, pod: Object, now: datetime) -> Outcome | Progress:
    """How the attempt that the pod makes stands."""
    ended = pods.ended(pod, names.CONTAINER_TASK)
    if ended is not None:
        return _of_task(pod, ended)
    if pods.is_over(pod):
        return judge_init(pod) or _of_pod(pod)
    if pods.is_deleting(pod):
        return _deleting(pod, now)
    started = pods.running_since(pod, names.CONTAINER_TASK)
    if started is not None:
        return _running(task, started, now)
    return _starting(pod, now)


def _of_task(pod: Object, ended: pods.Termination) -> Outcome:
    at = pods.ended_at(pod, names.CONTAINER_TASK)
    if not pods.may_have_run(pod, names.CONTAINER_TASK):
        return ours(
            f"The command's container never started: {ended.words}: {ended.message}", may_have_run=False
        )
    killed_for_memory = ended.reason == "OOMKilled"
    try:
        report = runner_report(ended.message)
    except ReportInvalidError as error:
        if killed_for_memory:
            return Outcome(Kind.COMMAND, "OOMKilled", "The container exceeded its memory limit.", None, at)
        return ours(_no_report(pod, ended, error), may_have_run=True, at=at)
    return _of_report(pod, report, killed_for_memory, at)


def _no_report(pod: Object, ended: pods.Termination, error: ReportInvalidError) -> str:
    failed_as_a_whole = bool(pod["status"].get("reason"))
    why = f" ({pods.loss(pod)})" if failed_as_a_whole else ""
    return (
        f"The runner left no report that can be read: {error}; its container ended with {ended.words}{why}. "
        "The command may have run: raise spec.backoffLimit where it may run again."
    )


def _of_report(pod: Object, report: RunnerReport, killed_for_memory: bool, at: datetime | None) -> Outcome:
    if report.error is not None:
        said, code = f"{report.error.code}: {report.error.message}", report.error.code
        if code in FATAL_CODES:
            return Outcome(Kind.FATAL, code, said, report, at)
        return ours(said, may_have_run=code not in _NOT_STARTED_CODES, at=at)
    if report.reason == "Completed":
        return Outcome(Kind.SUCCEEDED, "Completed", "The command exited with code 0.", report, at)
    if report.reason == "Cancelled":
        return ours(f"The command was cut off: {pods.loss(pod)}.", may_have_run=True, at=at)
    # A report has a reason where it has no error. One that this release does not know is handed on as it is.
    reason = "OOMKilled" if report.signal == 9 and killed_for_memory else str(report.reason)
    return Outcome(Kind.COMMAND, reason, _WORDS.get(reason) or exit_words(report), report, at)


def _of_pod(pod: Object) -> Outcome:
    may_have_run = pods.may_have_run(pod, names.CONTAINER_TASK)
    message = f"The attempt's pod failed: {pods.loss(pod)}."
    return ours(message, may_have_run=may_have_run, at=pods.last_transition(pod))


def _deleting(pod: Object, now: datetime) -> Outcome | Progress:
    # deletionTimestamp already includes the grace period. A pod that outlives it by much sits on a node that is gone.
    left_s = _LOST_AFTER_S - (now - parse_time(pod["metadata"]["deletionTimestamp"])).total_seconds()
    if left_s <= 0:
        if not pods.is_bound(pod):
            return ours("The pod was deleted, but a finalizer keeps it.", may_have_run=False)
        # What a silent kubelet said last is old: cut off from the apiserver, it may have started the command since.
        return ours(f"The pod's node {pod['spec']['nodeName']} does not answer.", may_have_run=True)
    phase = "Running" if pods.running_since(pod, names.CONTAINER_TASK) else "Pending"
    return Progress(phase, "PodTerminating", "The attempt's pod is being deleted.", left_s)


def _running(task: Object, started: datetime, now: datetime) -> Outcome | Progress:
    limit = timedelta(seconds=task["spec"].get("timeoutSeconds", DEFAULT_TIMEOUT_S) + OVERRUN_S)
    left_s = (started + limit - now).total_seconds()
    if left_s <= 0:
        return ours("The runner did not end the command after its timeout.", may_have_run=True)
    return Progress("Running", "Running", "The command is running.", left_s)


def _starting(pod: Object, now: datetime) -> Outcome | Progress:
    if not pods.is_bound(pod):
        # It only waits for room, in the scheduler's queue or in Kueue's: another pod would wait no less.
        said = pods.condition(pod, "PodScheduled")
        words = str(said.get("message") or "The pod waits for the scheduler.")
        return Progress("Pending", str(said.get("reason") or "PodStarting"), words, None)
    trouble = pods.trouble(pod)
    reason, message = "PodStarting", "The pod's containers are starting."
    if trouble is not None:
        reason, message = trouble.reason, f"Container {trouble.container}: {trouble.message}"
    elif any(pods.running_since(pod, name) for name in _PREPARING):
        # Fetching and setup have their own timeouts; the start deadline is for what never begins.
        return Progress("Pending", "PreparingWorkspace", "The workspace is being prepared.", None)
    left_s = START_DEADLINE_S - (now - _latest_step(pod)).total_seconds()
    if left_s <= 0:
        return ours(f"The pod did not start within {START_DEADLINE_S} s: {message}", may_have_run=False)
    return Progress("Pending", reason, message, left_s)


def _latest_step(pod: Object) -> datetime:
    """When the pod last came nearer to its command: what follows has the whole start deadline, however long it took."""
    prepared = (pods.ended_at(pod, name) for name in (names.CONTAINER_INSTALL, *_PREPARING))
    return pods.latest(pods.created_at(pod), pods.changed_at(pod, "PodScheduled"), *prepared)
