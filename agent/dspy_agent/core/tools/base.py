"""What every tool is, and the helpers that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, ClassVar, TypeGuard

from dspy_agent.core.policy import Task
from dspy_agent.core.runner import ExecResult
from dspy_agent.core.workspace import Workspace
from dspy_agent.errors import ToolError

STRINGS = {"type": "array", "items": {"type": "string"}}  # JSON schema
MAX_SECONDS = 86_400.0  # as long as the runner lets a command run


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


def clean_path(path: object) -> str:
    """A relative path inside the workspace. The runner refuses escapes too; this names the reason."""
    if not is_text(path) or not path or "\0" in path:
        raise ToolError("PathInvalid", "Give the path of a file relative to the workspace.")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ToolError("PathInvalid", f"{path!r} leaves the workspace; give a path relative to it.")
    return str(pure)


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


def is_text(value: object) -> TypeGuard[str]:
    """Whether the value is a string that UTF-8 can carry: half of a surrogate pair, which JSON can hold, it cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_argument(arguments: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A string argument; ToolError when it is missing or of another type."""
    value = arguments.get(name, default)
    if value is None:
        value = default
    if not is_text(value):
        raise ToolError("ArgumentInvalid", f"Give {name} as a string.")
    return value


def seconds_argument(arguments: Mapping[str, Any], name: str, default: float) -> float:
    """A positive number of seconds, at most a day."""
    value = arguments.get(name)
    if value is None:
        return default
    # False for what is no number of seconds at all, nan included.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS:
        raise ToolError("ArgumentInvalid", f"Give {name} as a number above 0 and at most {MAX_SECONDS:g}.")
    return float(value)


def whole_argument(arguments: Mapping[str, Any], name: str, default: int, maximum: int) -> int:
    """A whole number from 1 to `maximum`."""
    value = arguments.get(name)
    if value is None:
        return min(default, maximum)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 1 <= value <= maximum
        or value % 1
    ):
        raise ToolError("ArgumentInvalid", f"Give {name} as a whole number from 1 to {maximum}.")
    return int(value)


def strings_argument(arguments: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of strings; empty when it is not given."""
    value = arguments.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(map(is_text, value)):
        raise ToolError("ArgumentInvalid", f"Give {name} as a list of strings.")
    return tuple(value)


def argv_argument(arguments: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """An argument array with at least the command."""
    argv = strings_argument(arguments, name)
    if not argv:
        raise ToolError(
            "ArgumentInvalid", f"Give {name} as a list of strings: the command and its arguments."
        )
    return argv


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
