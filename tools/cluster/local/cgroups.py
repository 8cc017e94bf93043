"""The cgroup that the kubelet works below, in every hierarchy of cgroup v1 or the single one of v2."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from tools.common.process import ToolError

ROOT = Path("/sys/fs/cgroup")
REMOVAL_SECONDS = 10.0


def is_v2(root: Path = ROOT) -> bool:
    return (root / "cgroup.controllers").exists()


def hierarchies(root: Path = ROOT) -> list[Path]:
    """The mounted hierarchies; links such as `cpu -> cpu,cpuacct` are left out."""
    if is_v2(root):
        return [root]
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())


def create(name: str, root: Path = ROOT) -> None:
    for hierarchy in hierarchies(root):
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        _inherit_cpuset(group)


def _inherit_cpuset(group: Path) -> None:
    """On v1 a new cpuset is empty, and no process may enter it until it has processors and memory."""
    for setting in ("cpuset.mems", "cpuset.cpus"):
        if (group / setting).exists() and not is_v2(group.parent):
            (group / setting).write_text((group.parent / setting).read_text())


def remove(pattern: str, root: Path = ROOT) -> None:
    """Remove each cgroup whose name matches, with all below it. Their processes must be dead or dying.

    Raises:
        ToolError: a process still lives in one after `REMOVAL_SECONDS`.
    """
    deadline = time.monotonic() + REMOVAL_SECONDS
    for hierarchy in hierarchies(root):
        for group in hierarchy.glob(pattern):
            _remove_tree(group, deadline)


def _remove_tree(group: Path, deadline: float) -> None:
    """The deepest first. Whatever is gone by the time we come to it is what was asked for."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            _remove_one(Path(folder), deadline)


def _remove_one(group: Path, deadline: float) -> None:
    while True:
        try:
            return group.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            if time.monotonic() > deadline:
                raise ToolError(
                    f"Processes still live in the cgroup {group}, which cannot be removed: its cgroup.procs lists them."
                ) from error
            # The kernel takes a moment to account for processes that have just been killed.
            time.sleep(0.02)
