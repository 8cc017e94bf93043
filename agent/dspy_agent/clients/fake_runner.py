"""A runner without a sandbox, for tests: it really runs processes, in temporary folders of this machine.

The sibling of `runner.RunnerClient`; tests/agent/test_runner_conformance.py runs on both. Never use it for code that
is not trusted.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from dspy_agent.core.runner import MAIN, Command, Diff, ExecResult, FileEntry, Match
from dspy_agent.errors import CannotStart, RunnerLost, RunnerRequestError
from dspy_agent.sources.pack import fits


class FakeRunner:
    """Implements `core.runner.Runner` on folders below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._origins: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._folder_of(MAIN).mkdir(parents=True)

    def wait_ready(self, timeout_seconds: float) -> None:
        """Folders are always ready."""

    def execute(self, command: Command, workspace: str = MAIN) -> ExecResult:
        folder = self._folder(workspace)
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                command.argv,
                cwd=folder / (command.cwd or ""),
                env={**os.environ, **command.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise CannotStart("CannotStart", f"{command.argv[0]}: {error.strerror}", 422) from error
        timed_out = False
        try:
            out, err = process.communicate(timeout=command.timeout_seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
            os.killpg(process.pid, 9)
            out, err = process.communicate()
        outputs = [(_clip(data, command.output_limit_bytes), len(data)) for data in (out, err)]
        return _result(process.returncode, timed_out, outputs, time.monotonic() - started)

    def put_archive(self, archive: BinaryIO, workspace: str = MAIN) -> None:
        folder = self._folder(workspace)
        shutil.rmtree(folder)
        folder.mkdir()
        with tarfile.open(fileobj=archive) as tar:
            if not all(fits(info) for info in tar.getmembers()):
                raise RunnerRequestError("ArchiveEscapes", "An entry leaves the workspace.", 400)
            tar.extractall(folder)  # noqa: S202 - checked above

    def read_file(self, path: str, workspace: str = MAIN) -> bytes:
        try:
            return (self._folder(workspace) / path).read_bytes()
        except OSError as error:
            raise RunnerRequestError("FileNotFound", f"There is no file {path}.", 404) from error

    def write_file(self, path: str, content: bytes, workspace: str = MAIN) -> None:
        target = self._folder(workspace) / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise RunnerRequestError(
                "BadRequest", f"`{path[:100]}` cannot be written: {error.strerror}.", 400
            ) from error

    def delete_file(self, path: str, workspace: str = MAIN) -> None:
        target = self._folder(workspace) / path
        if not target.is_file():
            raise RunnerRequestError("FileNotFound", f"There is no file {path}.", 404)
        target.unlink()

    def list_files(self, glob: str, limit: int, workspace: str = MAIN) -> tuple[Sequence[FileEntry], bool]:
        files = [FileEntry(path, file.stat().st_size) for path, file in self._files(workspace, glob)]
        return files[:limit], len(files) > limit

    def search(
        self, pattern: str, glob: str, limit: int, workspace: str = MAIN
    ) -> tuple[Sequence[Match], bool]:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise RunnerRequestError(
                "BadRequest", f"The pattern is not a regular expression: {error}.", 400
            ) from error
        found = [
            Match(path, number, text)
            for path, file in self._files(workspace, glob)
            for number, text in enumerate(file.read_text(errors="replace").splitlines(), 1)
            if expression.search(text)
        ]
        return found[:limit], len(found) > limit

    def fork(self, origin: str = MAIN) -> str:
        with self._lock:
            fork = f"f{next(self._numbers)}"
        # What a reset goes back to: the origin as it is now, not as it is then.
        shutil.copytree(self._folder(origin), self._folder_of(f"{fork}.origin"), symlinks=True)
        shutil.copytree(self._folder(origin), self._folder_of(fork), symlinks=True)
        return fork

    def reset_fork(self, fork: str) -> None:
        shutil.rmtree(self._folder(fork))
        shutil.copytree(self._folder_of(f"{fork}.origin"), self._folder_of(fork), symlinks=True)

    def delete_fork(self, fork: str) -> None:
        shutil.rmtree(self._folder(fork))
        shutil.rmtree(self._folder_of(f"{fork}.origin"))

    def diff(self, origin: str, changed: str = MAIN) -> Diff:
        before, after = dict(self._files(origin, "**")), dict(self._files(changed, "**"))
        texts = {
            path: (_text(before.get(path)), _text(after.get(path))) for path in sorted({*before, *after})
        }
        differing = {path: pair for path, pair in texts.items() if pair[0] != pair[1]}
        return Diff("".join(_patch(path, *pair) for path, pair in differing.items()), tuple(differing))

    def max_concurrent(self) -> int:
        return 4

    def _files(self, workspace: str, glob: str) -> Iterator[tuple[str, Path]]:
        folder = self._folder(workspace)
        for file in sorted(folder.rglob("*")):
            path = str(file.relative_to(folder))
            if file.is_file() and any(fnmatchcase(path, form) for form in (glob, glob.replace("**/", ""))):
                yield path, file

    def _folder(self, workspace: str) -> Path:
        folder = self._folder_of(workspace)
        if not folder.is_dir():
            raise RunnerLost(f"There is no workspace {workspace}.")
        return folder

    def _folder_of(self, workspace: str) -> Path:
        return self._root / workspace


def _result(returncode: int, timed_out: bool, outputs: list[tuple[str, int]], seconds: float) -> ExecResult:
    if timed_out:
        reason = "TimedOut"
    elif returncode < 0:
        reason = "Signaled"
    else:
        reason = "NonZeroExit" if returncode else "Completed"
    return ExecResult(
        exit_code=returncode if returncode >= 0 else None,
        signal=-returncode if returncode < 0 else None,
        reason=reason,
        stdout=outputs[0][0],
        stderr=outputs[1][0],
        stdout_bytes=outputs[0][1],
        stderr_bytes=outputs[1][1],
        seconds=seconds,
    )


def _clip(output: bytes, limit: int) -> str:
    kept = output if len(output) <= limit else output[: limit // 2] + output[-(limit // 2) :]
    return kept.decode(errors="replace")


def _text(file: Path | None) -> list[str] | None:
    return None if file is None else file.read_text(errors="replace").splitlines(keepends=True)


def _patch(path: str, before: list[str] | None, after: list[str] | None) -> str:
    old = "/dev/null" if before is None else f"a/{path}"
    new = "/dev/null" if after is None else f"b/{path}"
    lines = difflib.unified_diff(before or [], after or [], old, new)
    return f"diff --git a/{path} b/{path}\n" + "".join(
        line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines
    )
