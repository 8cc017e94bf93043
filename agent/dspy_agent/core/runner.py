"""The part of the env runner that a session uses. `clients.runner.RunnerClient` is the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

MAIN = "main"


@dataclass(frozen=True)
class Command:
    """A command for the runner: an argument array, never a shell string."""

    argv: tuple[str, ...]
    timeout_seconds: float = 60.0
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    output_limit_bytes: int = 1 << 20


@dataclass(frozen=True)
class ExecResult:
    """How a command ended; `reason` is one of Completed, NonZeroExit, Signaled, TimedOut, OOMKilled, ProcessLimit,
    Cancelled."""

    exit_code: int | None
    signal: int | None
    reason: str
    stdout: str
    stderr: str
    stdout_bytes: int
    stderr_bytes: int
    seconds: float
    isolation: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileEntry:
    """A regular file of a workspace; `path` is relative and uses `/`."""

    path: str
    size: int


@dataclass(frozen=True)
class Match:
    """One line that a search found; `line` counts from 1."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Diff:
    """A git-style unified diff and the paths it is about."""

    patch: str
    files: tuple[str, ...]


class Runner(Protocol):
    """Executes commands and keeps workspaces: `main` and its forks.

    Raises `RunnerRequestError` (our request was refused: code and message), `CannotStart` (argv[0] or cwd is
    missing) or `RunnerLost` (no answer, or no workspace of that name: it was restarted).
    """

    def wait_ready(self, timeout_seconds: float) -> None: ...

    def execute(self, command: Command, workspace: str = MAIN) -> ExecResult: ...

    def put_archive(self, archive: BinaryIO, workspace: str = MAIN) -> None: ...

    def read_file(self, path: str, workspace: str = MAIN) -> bytes: ...

    def write_file(self, path: str, content: bytes, workspace: str = MAIN) -> None: ...

    def delete_file(self, path: str, workspace: str = MAIN) -> None: ...

    def list_files(
        self, glob: str, limit: int, workspace: str = MAIN
    ) -> tuple[Sequence[FileEntry], bool]: ...

    def search(
        self, pattern: str, glob: str, limit: int, workspace: str = MAIN
    ) -> tuple[Sequence[Match], bool]: ...

    def fork(self, origin: str = MAIN) -> str: ...

    def reset_fork(self, fork: str) -> None: ...

    def delete_fork(self, fork: str) -> None: ...

    def diff(self, origin: str, changed: str = MAIN) -> Diff: ...

    def max_concurrent(self) -> int: ...
