"""What every tool is, and the helpers that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from dspy_agent.core.policy import Task
from dspy_agent.core.runner import ExecResult
from dspy_agent.core.tools.arguments import clean_path
from dspy_agent.core.workspace import Workspace
from dspy_agent.errors import ToolError


def _no_limit() -> float:
    return float("inf")


@dataclass
class ToolContext:
    """What a tool may touch: the session's task and workspace, and the count of candidates that ran.

    A candidate is an edit that was tried, however: in a fork of its own, among hundreds in one screening process, or
    by a check of the current state. `seconds_left` is the budget's: no command may run longer.
    """

    task: Task
    workspace: Workspace
    concurrency: int = 2
    candidates_run: int = 0
    seconds_left: Callable[[], float] = _no_limit

    def bounded_timeout(self, timeout_seconds: float) -> float:
        """The timeout, but no longer than the budget lasts (at least 1 s, so that a result can say TimedOut)."""
        return max(1.0, min(timeout_seconds, self.seconds_left()))

    def count_candidates(self, count: int) -> None:
        """Count candidates that ran, now or before a restart."""
        self.candidates_run += count


class Tool(ABC):
    """One tool; `parameters` are JSON schema properties, `required` the names that must be given.

    `turns` is what a call costs of the budget's turns; `mutates` marks calls whose arguments a restart needs in full.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    parameters: ClassVar[Mapping[str, Any]]
    required: ClassVar[tuple[str, ...]] = ()
    turns: ClassVar[int] = 0
    mutates: ClassVar[bool] = False

    @abstractmethod
    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The observation's value, bounded in size. Raises ToolError for what the policy can do something about."""

    def replay(self, context: ToolContext, arguments: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """After a restart, for a recorded call: bring back what it changed. Most tools change nothing."""
        del context, arguments, value


def editable_path(context: ToolContext, path: object) -> str:
    """The path that an edit of `path` changes: links are followed. ToolError when the task protects it."""
    given = clean_path(path)
    canonical = context.workspace.canonical(given)
    if is_protected(canonical, context.task.protected_paths):
        where = given if canonical == given else f"{given}, which leads to {canonical},"
        raise ToolError("PathProtected", f"{where} is protected by the task; change another file.")
    return canonical


def is_protected(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a protectedPaths pattern covers the path: `tests/`, `tests/**`, `*.lock` or an exact path."""
    return any(_matches(path, pattern.removeprefix("./")) for pattern in patterns)


def _matches(path: str, pattern: str) -> bool:
    folder = pattern.removesuffix("**").removesuffix("/")
    if fnmatchcase(path, pattern) or fnmatchcase(path, pattern.removeprefix("**/")):
        return True
    return not folder or path == folder or path.startswith(folder + "/")


def read_text(workspace: Workspace, path: str) -> str:
    """A file as text; line ends are kept as they are."""
    try:
        return workspace.read(path).decode()
    except UnicodeDecodeError as error:
        raise ToolError("NotText", f"{path} is not UTF-8 text.") from error


def exec_value(result: ExecResult, keep_characters: int) -> dict[str, Any]:
    """An ExecResult as an observation's value: tails of the output, and the true totals in bytes."""
    return {
        "exit_code": result.exit_code,
        "signal": result.signal,
        "reason": result.reason,
        "stdout_tail": result.stdout[-keep_characters:],
        "stderr_tail": result.stderr[-keep_characters:],
        "stdout_bytes": result.stdout_bytes,
        "stderr_bytes": result.stderr_bytes,
        "seconds": round(result.seconds, 6),
    }
