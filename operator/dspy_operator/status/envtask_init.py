"""How an attempt failed before its command: in the containers that prepare the pod. Pure."""

from __future__ import annotations

from dspy_operator import names
from dspy_operator.errors import ReportInvalidError
from dspy_operator.reports import RunnerReport, runner_report, workspace_report
from dspy_operator.status import pods
from dspy_operator.status.outcome import Kind, Outcome, ours
from dspy_operator.store import Object

# What no further attempt can mend: the spec itself is at fault.
FATAL_CODES = frozenset({"CannotStart", "BadRequest", "NetworkNotAllowed", "WorkspaceInvalid"})


def judge_init(pod: Object) -> Outcome | None:
    """The failure of the first init container that failed, if one did."""
    for name in (names.CONTAINER_INSTALL, names.CONTAINER_WORKSPACE, names.CONTAINER_SETUP):
        ended = pods.ended(pod, name)
        if ended is None or ended.exit_code == 0:
            continue
        if name == names.CONTAINER_WORKSPACE:
            return _of_workspace(ended)
        if name == names.CONTAINER_SETUP:
            return _of_setup(ended)
        return _before(f"Container {name} ended with {ended.words}: {ended.message}")
    return None


def exit_words(report: RunnerReport) -> str:
    """A sentence that tells how a command ended."""
    if report.signal is not None:
        return f"The command was ended by signal {report.signal}."
    return f"The command exited with code {report.exit_code}."


def _of_workspace(ended: pods.Termination) -> Outcome:
    try:
        report = workspace_report(ended.message)
    except ReportInvalidError:
        return _before(f"The workspace could not be prepared: {ended.words}. {ended.message}")
    if report.reason in FATAL_CODES:
        return Outcome(Kind.FATAL, report.reason, report.message)
    return _before(f"{report.reason}: {report.message}")


def _of_setup(ended: pods.Termination) -> Outcome:
    try:
        report = runner_report(ended.message)
    except ReportInvalidError:
        return _before(f"The setup command's container ended with {ended.words}. {ended.message}")
    if report.error is not None and report.error.code not in FATAL_CODES:
        return _before(f"Setup: {report.error.code}: {report.error.message}")
    said = (
        report.error.message
        if report.error is not None
        else f"{exit_words(report)} {report.stderr_tail}".strip()
    )
    return Outcome(Kind.FATAL, "SetupFailed", f"The workspace's setup command failed. {said}")


def _before(message: str) -> Outcome:
    return ours(message, may_have_run=False)
