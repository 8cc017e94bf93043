"""A folder of this machine as a workspace, without what belongs to version control, caches and virtual environments."""

from __future__ import annotations

from pathlib import Path

from dspy_agent.sources.pack import Packed, pack_folder

LEFT_OUT = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "__pycache__",
        "node_modules",
    }
)


def pack_repository(folder: Path) -> Packed:
    """The folder as an archive."""
    return pack_folder(folder, left_out)


def left_out(path: Path) -> bool:
    """Whether the path is no part of the copy that a session works on."""
    return path.name in LEFT_OUT or (path / "pyvenv.cfg").is_file()
