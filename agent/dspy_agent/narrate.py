"""A session's events in plain words, a line each: for the command line and for whoever reads a session's story."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dspy_agent.core.events import Event

Data = Mapping[str, Any]


def line(event: Event) -> str:
    """`[  1.2 s] what happened`."""
    words = _WORDS.get(event.type)
    return f"[{event.elapsed_seconds:6.1f} s] {words(event.data) if words else event.type}"


def _check(data: Data) -> str:
    return f"{ending(data)} in {data['seconds']:.1f} s"


def _edit(data: Data) -> str:
    path = data["arguments"].get("path")
    return f"edited {path}" if data["ok"] else f"edit of {path} refused: {data['value']['message']}"


def _llm(data: Data) -> str:
    if not data["ok"]:
        return f"the model's answer could not be used: {data['value']['message']}"
    return f"the model answered ({data['value']['usage']['total_tokens']} tokens, {data['seconds']:.1f} s)"


def _tool(data: Data) -> str:
    name, value = data["tool"], data["value"]
    if not data["ok"]:
        return f"{name} failed: {value['message']}"
    words = _TOOL_WORDS.get(name)
    return words(data["arguments"], value) if words else f"called {name}"


def _trial(arguments: Data, value: Data) -> str:
    purpose = arguments.get("purpose", "try")
    if purpose == "probe":
        return "ran the check with the probe, to see what the failing tests execute"
    if screened := value.get("screened"):
        passed = screened["passed"]
        verb = "passes" if passed == 1 else "pass"
        edits = _count(screened["candidates"], "candidate edit")
        return f"screened {edits} in one process: {passed or 'none'} {verb} the failing tests"
    if not value["passed"]:
        return f"the check passes with none of {_count(value['run'], 'candidate')}"
    first, others = value["passed"][0], len(value["passed"]) - 1
    also = f" and with {_count(others, 'other')}" if others else ""
    return f"the check passes with candidate {first + 1} of {value['run']}{_edited(arguments, first)}{also}"


def _edited(arguments: Data, position: int) -> str:
    """The files that the candidate edits; nothing where the arguments were shortened."""
    candidates = arguments["candidates"]
    candidate = candidates[position] if position < len(candidates) else None
    edits = candidate.get("edits", []) if isinstance(candidate, Mapping) else []
    paths = [edit["path"] for edit in edits if isinstance(edit, Mapping)]
    return f" ({', '.join(paths)})" if paths else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _run(arguments: Data, value: Data) -> str:
    return f"ran {' '.join(arguments['argv'])[:80]}: {ending(value)}"


def ending(value: Data) -> str:
    """How a command ended, in words."""
    if value["exit_code"] == 0:
        return "passed"
    if value["exit_code"] is not None:
        return f"exit code {value['exit_code']}"
    return f"{value['reason']}" + (f" by signal {value['signal']}" if value["signal"] else "")


def _size(count: int) -> str:
    return f"{count} bytes" if count < 10_000 else f"{count / 1000:.0f} kB"


_TOOL_WORDS: dict[str, Callable[[Data, Data], str]] = {
    "trial": _trial,
    "run": _run,
    "run_check": lambda _, value: f"ran the check: {ending(value)}",
    "read_file": lambda _, value: f"read {value['path']}",
    "list_files": lambda _, value: f"listed {len(value['files'])} files",
    "search": lambda arguments, value: (
        f"searched for {arguments['pattern']!r}: {len(value['matches'])} lines"
    ),
}

_WORDS: dict[str, Callable[[Data], str]] = {
    "session_started": lambda data: (
        f"session started with policy {data['policy']}; "
        + (f"the check is: {' '.join(data['check'])}" if data["check"] else "it has no task")
    ),
    "session_resumed": lambda data: f"restarted; carries on after event {data['after']}",
    "workspace_ready": lambda data: (
        f"workspace ready from {data['source']}: {data['files']} files, {_size(data['bytes'])}"
    ),
    "check_before": lambda data: f"check before any change: {_check(data)}",
    "check_after": lambda data: f"check after the change: {_check(data)}",
    "session_finished": lambda data: f"{data['outcome']} ({data['reason']}): {data['message']}",
    "edit": _edit,
    "llm_call": _llm,
    "tool_call": _tool,
}
