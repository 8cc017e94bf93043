"""Where the tools keep things. Both roots can be moved with an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def cache() -> Path:
    """What is expensive to build and safe to delete: `$DSPY_CACHE`, else `~/.cache/dspy-agent`."""
    return Path(os.environ.get("DSPY_CACHE") or Path.home() / ".cache" / "dspy-agent")


def state() -> Path:
    """A folder per running cluster: `$DSPY_STATE`, else `~/.local/state/dspy-agent`."""
    return Path(os.environ.get("DSPY_STATE") or Path.home() / ".local" / "state" / "dspy-agent")


def tool(name: str) -> Path:
    """The path of a program that `tools.setup` built. It need not exist yet."""
    return cache() / "bin" / name
