"""A session's workspace on the runner: `main`, which only edits change, and forks, in which everything runs.

Commands run in forks that are reset afterwards, so that what they write (caches, build outputs, a test's leftovers)
never reaches the patch and a restart can rebuild the state from the recorded edits alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from threading import Lock

from dspy_agent.core.runner import MAIN, Command, Diff, ExecResult, Runner
from dspy_agent.errors import RunnerRequestError, ToolError

MAX_LINKS = 40  # as many as the kernel follows


class Workspace:
    """`main`, the fork `base` of its untouched state, the edits made since, and a pool of forks of `base`."""

    def __init__(self, runner: Runner, links: Mapping[str, str] | None = None) -> None:
        """`links` are the symbolic links that the workspace came with: path → target."""
        self.runner = runner
        self._links = links or {}
        self.base = runner.fork(MAIN)
        self._edits: dict[str, bytes | None] = {}
        self._idle: list[str] = []
        self._lock = Lock()

    def canonical(self, path: str) -> str:
        """The path that `path` leads to through the workspace's links. Raises ToolError for links in a circle.

        Links that the setup command made are not known here: what was changed through them shows in `diff`.
        """
        done: list[str] = []
        parts = [*reversed(PurePosixPath(path).parts)]
        hops = 0
        while parts:
            part = parts.pop()
            if part == "..":
                del done[-1:]
                continue
            done.append(part)
            target = self._links.get("/".join(done))
            if target is not None:
                hops += 1
                if hops > MAX_LINKS:
                    raise ToolError(
                        "PathInvalid", f"{path} leads through too many links; give the file's own path."
                    )
                done.pop()
                parts += reversed(PurePosixPath(target).parts)
        return "/".join(done)

    def read(self, path: str) -> bytes:
        """Content of a file, edits included."""
        return self.runner.read_file(path)

    def original(self, path: str) -> bytes | None:
        """Content of a file before any edit; None where there was none."""
        try:
            return self.runner.read_file(path, self.base)
        except RunnerRequestError as error:
            if error.code == "FileNotFound":
                return None
            raise

    def write(self, path: str, content: bytes | None) -> None:
        """Change `main`; None deletes the file."""
        _put(self.runner, path, content, MAIN)
        self._edits[path] = content

    @property
    def edits(self) -> Mapping[str, bytes | None]:
        """Every file that was changed, with its content; None for a deleted one."""
        return self._edits

    def diff(self) -> Diff:
        """What the edits changed."""
        return self.runner.diff(self.base, MAIN)

    def execute(self, command: Command) -> ExecResult:
        """Run a command in a fork that has the edits made so far."""
        with self.fork() as fork:
            return self.runner.execute(command, fork)

    @contextmanager
    def fork(self) -> Iterator[str]:
        """A fork of the current state; whatever happens in it is undone. Safe to use from several threads."""
        fork = self._take()
        try:
            for path, content in self._edits.items():
                self.put(fork, path, content)
            yield fork
        except (RunnerRequestError, ToolError):
            # A request was refused, the runner is well. After any other error it may be gone, and its forks with it.
            self._give_back(fork)
            raise
        self._give_back(fork)

    def put(self, fork: str, path: str, content: bytes | None) -> None:
        """Write a file into a fork; None deletes it."""
        _put(self.runner, path, content, fork)

    def _take(self) -> str:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.runner.fork(self.base)

    def _give_back(self, fork: str) -> None:
        self.runner.reset_fork(fork)
        with self._lock:
            self._idle.append(fork)


def _put(runner: Runner, path: str, content: bytes | None, workspace: str) -> None:
    if content is None:
        runner.delete_file(path, workspace)
    else:
        runner.write_file(path, content, workspace)
