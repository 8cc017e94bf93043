"""Following one task: its states on stderr, its output on stdout, and its command's exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from dspy_agent.cli.tasks_view import plain, readable, state_line
from dspy_agent.clients.orchestrator import TaskEvent

# As `timeout` and `docker run` say that the command is not what failed.
EXIT_NO_RESULT = 125
EXIT_SIGNAL = 128


def follow(events: Iterable[TaskEvent], *, as_json: bool) -> int:
    """The command's exit code, 128 and its signal, 0 for a scope or no-op that succeeded, or 125."""
    task: dict[str, Any] = {}
    said, wrote = "", False
    for event in events:
        if event.name == "task":
            task = event.data
            line = state_line(task)
            if line != said:
                print(line, file=sys.stderr, flush=True)
            said = line
        elif event.name == "log":
            wrote = True
            if not as_json:
                _write(sys.stdout, event.data["text"])
        elif "state" not in event.data:
            print("The task has expired.", file=sys.stderr)
    if as_json:
        print(json.dumps(task))
    else:
        _print_output(task, wrote=wrote)
    return exit_code(task)


def exit_code(task: dict[str, Any]) -> int:
    result = task.get("result")
    if result is None:
        return 0 if task.get("state") == "Succeeded" else EXIT_NO_RESULT
    if result.get("signal") is not None:
        return EXIT_SIGNAL + int(result["signal"])
    code = result.get("exit_code")
    return EXIT_NO_RESULT if code is None else int(code)


def _print_output(task: dict[str, Any], *, wrote: bool) -> None:
    """What no log showed while the command ran: that is its stdout alone, where the backend has one."""
    result = task.get("result") or {}
    if not wrote:
        _write(sys.stdout, result.get("stdout", ""))
    _write(sys.stderr, result.get("stderr", ""))
    for name in ("stdout", "stderr"):
        if result.get(f"{name}_truncated"):
            kept, total = len(result[name].encode()), result[f"{name}_bytes"]
            print(plain(f"[{name}: {kept} of {total} bytes were kept]"), file=sys.stderr)


def _write(stream: TextIO, text: str) -> None:
    """As it is, but to a terminal."""
    stream.write(readable(text) if stream.isatty() else text)
    stream.flush()
