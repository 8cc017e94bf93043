"""Writing a repair into the repository that was copied."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dspy_agent.errors import UsageError


def apply_edits(repo: Path, edits: Mapping[str, bytes | None]) -> None:
    """Replace each file at once, its mode kept; None deletes. A path that a link leads out is refused."""
    targets = {path: _target(repo, path) for path in edits}
    for path, content in edits.items():
        if content is None:
            targets[path].unlink(missing_ok=True)
        else:
            _replace(targets[path], content)


def _target(repo: Path, path: str) -> Path:
    target = (repo / path).resolve()
    if not target.is_relative_to(repo):
        raise UsageError(f"{path} leads out of the repository; nothing was changed.")
    return target


def _replace(target: Path, content: bytes) -> None:
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    Path(name).replace(target)
