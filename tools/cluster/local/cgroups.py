"""The cgroup that the kubelet works below, in every hierarchy of cgroup v1 or the single one of v2."""

from __future__ import annotations

import errno
import time
from pathlib import Path

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


def remove(name: str, root: Path = ROOT) -> None:
    """Remove the cgroup with all below it. Its processes must be dead or dying.

    Raises:
        OSError: EBUSY, when a process still lives in it after `REMOVAL_SECONDS`.
    """
    deadline = time.monotonic() + REMOVAL_SECONDS
    for hierarchy in hierarchies(root):
        _remove_tree(hierarchy / name, deadline)


def _remove_tree(group: Path, deadline: float) -> None:
    if not group.exists():
        return None
    for child in [path for path in group.iterdir() if path.is_dir()]:
        _remove_tree(child, deadline)
    while True:
        try:
            return group.rmdir()
        except FileNotFoundError:
            return None
        except OSError as error:
            # The kernel takes a moment to account for processes that have just been killed.
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
