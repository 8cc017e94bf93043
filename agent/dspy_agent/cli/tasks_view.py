"""Tasks as people read them. What tasks hold is made printable: it may be anything, and terminals obey some of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

COMMAND_WIDTH = 60
PLACE_WIDTH = 32
HEADINGS = ("ID", "STATE", "TENANT", "CLASS", "PRIO", "AGE", "TOOK", "TRIES", "PLACE", "COMMAND")
# Reasons of a result that say no more than the exit code or the signal.
PLAIN_ENDS = ("", "Completed", "NonZeroExit", "Signaled")
FACTS = (
    ("tenant", "tenant"),
    ("class", "class"),
    ("priority", "priority"),
    ("backend", "backend"),
    ("place", "place"),
    ("workspace", "workspace"),
    ("parent", "parent"),
    ("created_at", "created"),
    ("not_before", "not before"),
    ("started_at", "started"),
    ("finished_at", "finished"),
    ("deadline", "deadline"),
)


def table(tasks: Sequence[dict[str, Any]]) -> str:
    """A line per task; columns in which nothing stands are left out, but for id and state."""
    if not tasks:
        return "No tasks."
    rows = [_row(task) for task in tasks]
    shown = [i for i in range(len(HEADINGS)) if i < 2 or any(row[i] for row in rows)]
    widths = [max(len(row[i]) for row in (HEADINGS, *rows)) for i in shown]
    lines = (
        "  ".join(row[i].ljust(width) for i, width in zip(shown, widths, strict=True)).rstrip()
        for row in (HEADINGS, *rows)
    )
    return "\n".join(lines)


def story(task: dict[str, Any]) -> str:
    """All that there is to say of one task."""
    lines = [f"Task {task['id']}: {state_line(task)}", f"  {'command':<11}{command(task)}"]
    lines += [f"  {label:<11}{plain(str(task[key]))}" for key, label in FACTS if task.get(key)]
    if limit := task.get("limit"):
        lines.append(f"  {'limit':<11}{plain(limit['key'])}: {limit['max']} at once")
    if budget := task.get("budget_ms"):
        lines.append(f"  {'budget':<11}{_span(task.get('spent_ms', 0) / 1e3)} of {_span(budget / 1e3)} spent")
    if children := task.get("children"):
        counts = ", ".join(f"{children[name]} {name}" for name in ("open", "succeeded", "failed"))
        lines.append(f"  {'children':<11}{counts}")
    lines.append(f"  {'attempts':<11}{task['attempts']} of {task['max_attempts']}")
    lines += [f"    {_attempt(attempt)}" for attempt in task.get("history") or ()]
    result = task.get("result") or {}
    for name in ("stdout", "stderr"):
        if result.get(name):
            lines.append(f"\n== {name}\n{readable(result[name].rstrip())}")
    return "\n".join(lines)


def state_line(task: dict[str, Any]) -> str:
    """Its state, and why or with what."""
    state = str(task["state"])
    place = plain(task.get("place", ""))
    if state == "Running":
        tries = f", attempt {task['attempts']} of {task['max_attempts']}" if task["attempts"] > 1 else ""
        return f"Running{f' on {place}' if place else ''}{tries}"
    parts = [state]
    if (result := task.get("result")) is not None:
        parts.append(_ending(result))
    if state != "Succeeded" and (error := task.get("error")):
        parts.append(plain(f"{error['code']}: {error['message']}"))
    if state == "Waiting" and (children := task.get("children")):
        parts.append(f"for {children['open']} children")
    return ", ".join(parts)


def command(task: dict[str, Any]) -> str:
    if task.get("scope"):
        return "(scope)"
    return "(no-op)" if task.get("noop") else plain(shlex.join(task.get("argv") or ()))


def plain(text: str) -> str:
    """Without line ends and what a terminal would take for orders."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def readable(output: str) -> str:
    """A command's output, plain but for its line ends and tabs."""
    return "".join(c if c in "\n\t" else plain(c) for c in output)


def _row(task: dict[str, Any]) -> tuple[str, ...]:
    now = datetime.now(UTC)
    created, started, finished = (
        _time(task.get(f"{name}_at")) for name in ("created", "started", "finished")
    )
    took = _span(((finished or now) - started).total_seconds()) if started else ""
    return (
        task["id"],
        task["state"],
        plain(task.get("tenant", "")),
        task["class"],
        str(task.get("priority") or ""),
        _span((now - created).total_seconds()) if created else "",
        took,
        f"{task['attempts']}/{task['max_attempts']}",
        _short(plain(task.get("place", "")), PLACE_WIDTH),
        _short(command(task), COMMAND_WIDTH),
    )


def _attempt(attempt: dict[str, Any]) -> str:
    started, ended = _time(attempt.get("started_at")), _time(attempt.get("ended_at"))
    parts = [f"{attempt['number']}.", plain(attempt.get("place", "")) or "nowhere yet"]
    if started:
        parts.append(
            f"at {started:%H:%M:%S}" + (f" for {_span((ended - started).total_seconds())}" if ended else "")
        )
    if error := attempt.get("error"):
        parts.append(plain(f"{error['code']}: {error['message']}"))
    return " ".join(parts)


def _ending(result: dict[str, Any]) -> str:
    if result.get("exit_code") is not None:
        how = f"exit code {result['exit_code']}"
    elif result.get("signal") is not None:
        how = f"signal {result['signal']}"
    else:
        how = "no exit code"
    reason = str(result.get("reason") or "")
    return how if reason in PLAIN_ENDS else f"{how} ({plain(reason)})"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _span(seconds: float) -> str:
    """As kubectl writes ages."""
    seconds = max(seconds, 0.0)
    if seconds < 10:
        return f"{seconds:.1f}s"
    for size, unit, below in ((1, "s", 120), (60, "m", 120 * 60), (3600, "h", 48 * 3600)):
        if seconds < below:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds // 86400)}d"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
