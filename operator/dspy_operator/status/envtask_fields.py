"""What an EnvTask's status says: its conditions, and the fields that tell the end. Pure."""

from __future__ import annotations

from datetime import datetime

from dspy_operator.status.conditions import Condition, timestamp
from dspy_operator.status.outcome import Outcome
from dspy_operator.store import Object

_DEFAULT_TAIL_BYTES = 2048
# One condition is true at a time; the others say the same in every status, so that they are not read as news.
_REASONS_IF_FALSE = {
    "Complete": "NotComplete",
    "Failed": "NotFailed",
    "Reconciling": "Settled",
    "Stalled": "NotStalled",
    "Suspended": "NotSuspended",
}


def conditions(kind: str, reason: str, message: str) -> tuple[Condition, ...]:
    """All conditions of a task, of which `kind` is the true one."""
    return tuple(
        Condition(each, "True", reason, message) if each == kind else Condition(each, "False", if_false)
        for each, if_false in _REASONS_IF_FALSE.items()
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
