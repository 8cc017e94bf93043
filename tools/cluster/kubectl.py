"""The kubectl that the tool cache holds, or else the system's."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.common import paths
from tools.common.process import ToolError, run


def program() -> str:
    built = paths.tool("kubectl")
    if built.exists():
        return str(built)
    found = shutil.which("kubectl")
    if found is None:
        raise ToolError("kubectl is not installed; `python3 -m tools.setup kubernetes` builds it.")
    return found


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
    """Run kubectl and return its stdout; raises what `process.run` does."""
    data = stdin.encode() if stdin is not None else None
    return run(
        [program(), f"--kubeconfig={kubeconfig}", *arguments], stdin=data, timeout_seconds=timeout_seconds
    )


def wait(kubeconfig: Path, *arguments: str, seconds: int) -> None:
    """`kubectl wait` with one bound for all it waits for; raises what `process.run` does."""
    kubectl(kubeconfig, "wait", f"--timeout={seconds}s", *arguments, timeout_seconds=seconds + 10)
