"""Running other programs, and telling one process from a later one with the same number."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class ToolError(Exception):
    """Something the user can act on; the message is a sentence that says how."""


class CommandFailedError(ToolError):
    """A program ended with a non-zero status. The message carries the end of what it printed."""

    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        tail = "\n".join(output.strip().splitlines()[-25:])
        super().__init__(f"`{' '.join(argv)}` ended with status {status}:\n{tail}")
        self.status = status
        self.output = output


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | IO[bytes] | None = None,
    timeout_seconds: float = 600,
) -> str:
    """Run a program to its end and return its stdout.

    Raises:
        CommandFailedError: it ended with a non-zero status.
        ToolError: it could not be started or ran longer than `timeout_seconds`.
    """
    words = [str(word) for word in argv]
    given = stdin if isinstance(stdin, bytes) else None
    source = None if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=env,
            stdin=source,
            input=given,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolError(
            f"`{words[0]}` is not installed; `python3 -m tools.setup` installs what is missing."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"`{' '.join(words)}` did not end within {timeout_seconds:.0f} s.") from error
    if done.returncode != 0:
        raise CommandFailedError(words, done.returncode, (done.stdout + done.stderr).decode(errors="replace"))
    return done.stdout.decode(errors="replace")


@dataclass(frozen=True)
class ProcessId:
    """A process beyond doubt: its number, when it started, and the boot in which it did.

    The number alone may belong to somebody else's process by the time it is read back from a file.
    """

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Raises ProcessLookupError when there is no such process."""
        return cls(pid, _start_ticks(pid), _boot_id())

    def alive(self) -> bool:
        try:
            return self == ProcessId.of(self.pid) and _state(self.pid) != "Z"
        except ProcessLookupError:
            return False


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on; the second, the name, may contain spaces."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessLookupError(pid) from error
    return text.rpartition(")")[2].split()


def _start_ticks(pid: int) -> int:
    return int(_stat_fields(pid)[19])


def _state(pid: int) -> str:
    return _stat_fields(pid)[0]
