"""Writing a repair into the repository that was copied."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dspy_agent.errors import UsageError

Contents = Mapping[str, bytes | None]  # path → content, None where there is no file


def apply_edits(repo: Path, edits: Contents, originals: Contents) -> None:
    """Replace each file at once, its mode kept; None deletes. `originals` is what the repair started from.

    Nothing is written unless everything can be: a path that a link leads out is refused, and so is a file that is no
    longer what was copied.
    """
    targets = {path: _target(repo, path) for path in edits}
    changed = [path for path, target in targets.items() if _content(target) != originals[path]]
    if changed:
        raise UsageError(
            f"{', '.join(changed)} changed while the repair was sought; nothing was written. Apply the diff yourself."
        )
    for path, content in edits.items():
        if content is None:
            targets[path].unlink(missing_ok=True)
        else:
            _replace(targets[path], content)


def _target(repo: Path, path: str) -> Path:
    target = (repo / path).resolve()
    if not target.is_relative_to(repo):
        raise UsageError(f"{path} leads out of the repository; nothing was written.")
    return target


def _content(target: Path) -> bytes | None:
    return target.read_bytes() if target.exists() else None


def _replace(target: Path, content: bytes) -> None:
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
