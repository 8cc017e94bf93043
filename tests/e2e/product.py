"""The product on a cluster, for as long as the tests last."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 900

Tool = Callable[..., str]


def tool(*argv: str) -> str:
    """Run one of the project's tools; its progress goes to the terminal, its answer comes back."""
    done = subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LONGEST_SECONDS,
        check=True,
    )
    return done.stdout


@contextmanager
def installed(name: str, *, kept: bool, tool: Tool = tool) -> Iterator[Path]:
    """The kubeconfig of cluster `name`, with the chart on it. Removed unless `kept`, however far its start came."""
    try:
        tool("tools.cluster", "up", "--name", name)
        tool("tools.install", "--name", name)
        yield Path(tool("tools.cluster", "kubeconfig", "--name", name).strip())
    finally:
        if not kept:
            tool("tools.cluster", "down", "--name", name)
