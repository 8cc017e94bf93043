"""trial: run candidates, each in its own fork, and report how each ended. The workspace itself never changes.

    ToolCall("trial", {
        "candidates": [{"edits": [{"path": "a.py", "content": "..."}]}],   # whole new content; null deletes
        "files": [{"path": ".probe/sitecustomize.py", "content": "..."}],  # written to every fork, may be protected
        "command": ["python", "-m", "pytest", "-x"],                       # default: the task's check
        "timeout_seconds": 30, "env": {}, "keep_output_bytes": 4000, "concurrency": 2,
        "collect": ["coverage.json"], "collect_limit_bytes": 1048576, "stop_on_pass": False,
        "purpose": "try", "screening": None,
    })
    → {"results": [{"exit_code", "signal", "reason", "stdout_tail", "stderr_tail", "stdout_bytes", "stderr_bytes",
                    "seconds", "collected": {"coverage.json": "text" | null}} | null, ...],
       "run": how many commands ran, "passed": [index, ...], "candidates": how many edits were tried for the first time,
       "screened": {"candidates", "passed"}}                               # only with `screening`

Only `candidates` is needed. Results are in the candidates' order; those that did not start, because stop_on_pass
was reached or the time budget was, are null. Forks start from the current state, edits included; an empty `edits`
list probes it. A candidate that edits a protected path is refused as the edit tool would; `files` may lie anywhere
because they never leave the fork.

`purpose` says what a command stands for: `try` is one candidate each, `probe` and `verify` are no new candidate, and
`screen` is as many as the collected file named by `screening` answers for (`screening.py`): one process tried them
all, and its exit code says only that it ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, ClassVar

from dspy_agent.core.runner import Command
from dspy_agent.core.tools.arguments import (
    STRINGS,
    argv_argument,
    clean_path,
    is_text,
    seconds_argument,
    strings_argument,
    text_argument,
    whole_argument,
)
from dspy_agent.core.tools.base import Tool, ToolContext, editable_path, exec_value
from dspy_agent.core.tools.screening import summary
from dspy_agent.errors import RunnerRequestError, ToolError

KEEP_OUTPUT_BYTES = 4000
MAX_KEEP_OUTPUT_BYTES = 64 * 1024
COLLECT_LIMIT_BYTES = 1024 * 1024
MAX_COLLECT_LIMIT_BYTES = 4 * 1024 * 1024
MAX_CANDIDATES = 256
MAX_CONCURRENCY = 64
PURPOSES = ("try", "probe", "screen", "verify")

Files = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class _Plan:
    """A parsed call."""

    candidates: tuple[Files, ...]
    files: Files
    command: Command
    keep_output_bytes: int
    collect: tuple[str, ...]
    collect_limit_bytes: int
    concurrency: int
    stop_on_pass: bool
    purpose: str
    screening: str | None


class Trial(Tool):
    """Verify candidates side by side; see the module's docstring for the shapes."""

    name = "trial"
    description = (
        "Try candidates, each a set of whole-file edits, in separate copies of the workspace; run the check (or "
        "command) in each and report how each ended. The workspace does not change."
    )
    parameters: ClassVar[Mapping[str, Any]] = {
        "candidates": {
            "type": "array",
            "description": 'list of {"edits": [{"path": ..., "content": ...}]}',
            "items": {"type": "object"},
        },
        "command": {**STRINGS, "description": "default: the check"},
        "stop_on_pass": {"type": "boolean", "description": "start no more after one passed"},
    }
    required = ("candidates",)
    turns = 1

    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        plan = _parse(context, arguments)
        stop = Event()
        with ThreadPoolExecutor(plan.concurrency, thread_name_prefix="trial") as pool:
            futures = [pool.submit(_run_one, context, plan, candidate, stop) for candidate in plan.candidates]
            try:
                results = [future.result() for future in futures]
            except BaseException:
                stop.set()
                raise
        value = _summary(plan, results)
        context.count_candidates(value["candidates"])
        return value

    def replay(self, context: ToolContext, arguments: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        del arguments
        context.count_candidates(value["candidates"])


def _summary(plan: _Plan, results: list[dict[str, Any] | None]) -> dict[str, Any]:
    ran = [result for result in results if result is not None]
    value: dict[str, Any] = {
        "results": results,
        "run": len(ran),
        "passed": [index for index, result in enumerate(results) if result and result["exit_code"] == 0],
        "candidates": len(ran) if plan.purpose == "try" else 0,
    }
    if plan.screening:
        parts = [summary(result["collected"].get(plan.screening)) for result in ran]
        value["screened"] = {key: sum(part[key] for part in parts) for key in ("candidates", "passed")}
        value["candidates"] = value["screened"]["candidates"]
    return value


def _run_one(context: ToolContext, plan: _Plan, candidate: Files, stop: Event) -> dict[str, Any] | None:
    if stop.is_set() or context.seconds_left() <= 0:
        return None
    workspace = context.workspace
    with workspace.fork() as fork:
        for path, content in plan.files + candidate:
            workspace.put(fork, path, content)
        command = replace(plan.command, timeout_seconds=context.bounded_timeout(plan.command.timeout_seconds))
        result = workspace.runner.execute(command, fork)
        if plan.stop_on_pass and result.exit_code == 0:
            stop.set()
        value = exec_value(result, plan.keep_output_bytes)
        value["collected"] = {path: _collect(context, plan, fork, path) for path in plan.collect}
    return value


def _collect(context: ToolContext, plan: _Plan, fork: str, path: str) -> str | None:
    """A file that the command left behind; None when there is none or it is larger than the limit."""
    try:
        content = context.workspace.runner.read_file(path, fork)
    except RunnerRequestError as error:
        if error.code == "FileNotFound":
            return None
        raise
    return content.decode(errors="replace") if len(content) <= plan.collect_limit_bytes else None


def _parse(context: ToolContext, arguments: Mapping[str, Any]) -> _Plan:
    candidates = arguments.get("candidates")
    if not isinstance(candidates, list) or not 1 <= len(candidates) <= MAX_CANDIDATES:
        raise ToolError("ArgumentInvalid", f"Give candidates as a list of 1 to {MAX_CANDIDATES} objects.")
    keep = whole_argument(arguments, "keep_output_bytes", KEEP_OUTPUT_BYTES, MAX_KEEP_OUTPUT_BYTES)
    collect = tuple(map(clean_path, strings_argument(arguments, "collect")))
    purpose, screening = _purpose(arguments, collect)
    concurrency = whole_argument(arguments, "concurrency", context.concurrency, MAX_CONCURRENCY)
    return _Plan(
        candidates=tuple(_candidate(context, candidate) for candidate in candidates),
        files=_files(arguments.get("files") or []),
        command=_command(context, arguments, keep),
        keep_output_bytes=keep,
        collect=collect,
        collect_limit_bytes=whole_argument(
            arguments, "collect_limit_bytes", COLLECT_LIMIT_BYTES, MAX_COLLECT_LIMIT_BYTES
        ),
        concurrency=min(concurrency, len(candidates)),
        stop_on_pass=arguments.get("stop_on_pass") is True,
        purpose=purpose,
        screening=screening,
    )


def _purpose(arguments: Mapping[str, Any], collect: tuple[str, ...]) -> tuple[str, str | None]:
    purpose = text_argument(arguments, "purpose", "try")
    if purpose not in PURPOSES:
        raise ToolError("ArgumentInvalid", f"Give purpose as one of: {', '.join(PURPOSES)}.")
    if purpose != "screen":
        return purpose, None
    screening = clean_path(arguments.get("screening"))
    if screening not in collect:
        raise ToolError("ArgumentInvalid", "Name the file of the screening's answers in collect too.")
    return purpose, screening


def _command(context: ToolContext, arguments: Mapping[str, Any], keep_output_bytes: int) -> Command:
    argv = context.task.check if arguments.get("command") is None else argv_argument(arguments, "command")
    env = arguments.get("env") or {}
    if not isinstance(env, dict) or not all(is_text(text) for item in env.items() for text in item):
        raise ToolError("ArgumentInvalid", "Give env as an object of strings.")
    return Command(
        argv=argv,
        timeout_seconds=seconds_argument(arguments, "timeout_seconds", context.task.check_timeout_seconds),
        env=env,
        # The runner keeps the head and the tail; twice the tail leaves the whole tail in its second half.
        output_limit_bytes=max(2 * keep_output_bytes, 1024),
    )


def _candidate(context: ToolContext, candidate: object) -> Files:
    edits = candidate.get("edits") if isinstance(candidate, dict) else None
    if edits is None:
        raise ToolError("ArgumentInvalid", 'Each candidate is an object {"edits": [{"path", "content"}]}.')
    # A link is followed to what it names, but deleted itself.
    checked = [(editable_path(context, path), path, content) for path, content in _files(edits)]
    return tuple((given if content is None else canonical, content) for canonical, given, content in checked)


def _files(items: object) -> Files:
    if not isinstance(items, list):
        raise ToolError("ArgumentInvalid", 'Files are a list of {"path", "content"}.')
    return tuple(_file(item) for item in items)


def _file(item: object) -> tuple[str, bytes | None]:
    content = item.get("content", 0) if isinstance(item, dict) else 0
    if not isinstance(item, dict) or not (content is None or is_text(content)):
        raise ToolError(
            "ArgumentInvalid", 'Each file is {"path", "content"}; null as content deletes the file.'
        )
    return clean_path(item.get("path")), None if content is None else content.encode()
