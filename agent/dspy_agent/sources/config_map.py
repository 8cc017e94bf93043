"""A mounted ConfigMap as a workspace: one archive, or a file per key (`__` in a key stands for `/`)."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

from dspy_agent.errors import WorkspaceInvalid, WorkspaceUnreachable
from dspy_agent.sources.pack import Packed, pack_members, repack

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def read_config_map(folder: Path) -> Packed:
    """The workspace. Raises WorkspaceInvalid for a bad archive, WorkspaceUnreachable when nothing is mounted."""
    if not folder.is_dir():
        raise WorkspaceUnreachable(
            "The workspace's ConfigMap is not mounted; create it in the session's namespace."
        )
    # The kubelet keeps its own versions of the data beside the keys, under names with two dots.
    keys = sorted(path for path in folder.iterdir() if not path.name.startswith(".."))
    archives = [path for path in keys if path.name.endswith(ARCHIVE_SUFFIXES)]
    if not archives:
        return pack_members((_member(path), BytesIO(path.read_bytes())) for path in keys)
    if len(archives) > 1:
        raise WorkspaceInvalid(
            "The ConfigMap holds several archives; keep one key that ends in .tar, .tar.gz or .tgz."
        )
    with archives[0].open("rb") as archive:
        return repack(archive)


def _member(path: Path) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.name.replace("__", "/"))
    info.size = path.stat().st_size
    info.mode = 0o644
    return info
