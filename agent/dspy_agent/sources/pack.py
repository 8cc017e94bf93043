"""Safe tar archives: from a folder, and from an archive that somebody else made.

An entry must stay inside the workspace: no absolute path, no `..`, no link that points out, no device.
"""

from __future__ import annotations

import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from dspy_agent.errors import WorkspaceInvalid

MAX_ENTRIES = 200_000
MAX_BYTES = 4 * 1024**3
SPOOL_BYTES = 16 * 1024 * 1024

Excluded = Callable[[Path], bool]


@dataclass
class Packed:
    """A tar, open at its start, and what is in it. `skipped` are links that point out of the folder, and sockets;
    `links` are the others, path → target; `plain` are the paths of files."""

    archive: BinaryIO
    files: int = 0
    bytes: int = 0
    entries: int = 0
    skipped: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict, repr=False)
    plain: set[str] = field(default_factory=set, repr=False)


def pack_folder(folder: Path, excluded: Excluded = lambda _: False) -> Packed:
    """The folder's files and inner links; modes are kept, owners are not. Raises WorkspaceInvalid when too large."""
    with _packing() as (packed, tar):
        for path in _walk(folder, excluded):
            info = tar.gettarinfo(path, arcname=str(path.relative_to(folder)))
            if info is None or not fits(info):
                packed.skipped.append(str(path.relative_to(folder)))
            elif info.isreg():
                with path.open("rb") as content:
                    _add(packed, tar, info, content)
            else:
                _add(packed, tar, info, None)
    return packed


def repack(source: BinaryIO) -> Packed:
    """An archive (tar, also compressed) made safe. Raises WorkspaceInvalid at the first entry that is not."""
    try:
        with _packing() as (packed, tar), tarfile.open(fileobj=source, mode="r:*") as given:
            for info in given:
                if PurePosixPath(info.name).parts:
                    _add_given(packed, tar, given, info)
    except (tarfile.TarError, EOFError, OSError, KeyError, zlib.error, lzma.LZMAError) as error:
        raise WorkspaceInvalid(
            f"The workspace archive cannot be read ({error}); give a tar or tar.gz."
        ) from error
    return packed


def pack_members(members: Iterable[tuple[tarfile.TarInfo, IO[bytes]]]) -> Packed:
    """Files that were made in memory. Raises WorkspaceInvalid for a name that leaves the workspace."""
    with _packing() as (packed, tar):
        for info, content in members:
            _check_fits(packed, info)
            _add(packed, tar, info, content)
    return packed


@contextmanager
def _packing() -> Iterator[tuple[Packed, tarfile.TarFile]]:
    # Small workspaces never touch the disk.
    packed = Packed(cast(BinaryIO, tempfile.SpooledTemporaryFile(SPOOL_BYTES)))  # noqa: SIM115 - the caller closes it
    try:
        with tarfile.open(fileobj=packed.archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
            yield packed, tar
    except BaseException:
        packed.archive.close()
        raise
    packed.archive.seek(0)


def _check_fits(packed: Packed, info: tarfile.TarInfo) -> None:
    if not fits(info):
        raise WorkspaceInvalid(
            f"The workspace's entry {info.name!r} leaves the workspace or is a device; pack the folder again with "
            "relative paths and without links that point out of it."
        )
    for parent in map(str, PurePosixPath(info.name).parents):
        if parent in packed.links or parent in packed.plain:
            raise WorkspaceInvalid(
                f"The workspace's entry {info.name!r} lies below {parent!r}, which is no folder; pack the folder again."
            )


def _add_given(packed: Packed, tar: tarfile.TarFile, given: tarfile.TarFile, info: tarfile.TarInfo) -> None:
    _check_fits(packed, info)
    # extractfile follows a hard link to its content: the runner gets independent files.
    content = given.extractfile(info) if info.isreg() or info.islnk() else None
    if info.islnk() and content is not None:
        target = given.getmember(info.linkname)
        info.type, info.size, info.linkname = tarfile.REGTYPE, target.size, ""
    _add(packed, tar, info, content)


def _add(packed: Packed, tar: tarfile.TarFile, info: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    if info.issym():
        packed.links[str(PurePosixPath(info.name))] = info.linkname
    elif not info.isdir():
        packed.plain.add(str(PurePosixPath(info.name)))
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = (info.mode & 0o777) | (0o700 if info.isdir() else 0o600)
    info.pax_headers = {}
    packed.entries += 1
    packed.files += 0 if info.isdir() else 1
    packed.bytes += info.size
    if packed.entries > MAX_ENTRIES or packed.bytes > MAX_BYTES:
        raise WorkspaceInvalid(
            f"The workspace has more than {MAX_ENTRIES} entries or {MAX_BYTES >> 30} GiB; leave out what the task "
            "does not need."
        )
    tar.addfile(info, content)


def fits(info: tarfile.TarInfo) -> bool:
    """Whether the entry is a file, folder or link, and stays inside."""
    name = PurePosixPath(info.name)
    if name.is_absolute() or ".." in name.parts:
        return False
    if info.issym():
        return _link_fits(name, PurePosixPath(info.linkname))
    if info.islnk():
        target = PurePosixPath(info.linkname)
        return not target.is_absolute() and ".." not in target.parts
    return info.isreg() or info.isdir()


def _link_fits(name: PurePosixPath, target: PurePosixPath) -> bool:
    """A link may climb only at its beginning: behind another link, `..` leads somewhere that the text does not show."""
    climbs = len(list(takewhile(lambda part: part == "..", target.parts)))
    return not target.is_absolute() and ".." not in target.parts[climbs:] and climbs < len(name.parts)


def _walk(folder: Path, excluded: Excluded) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in links and not excluded(here / name))
        yield from (here / name for name in folders)
        yield from (here / name for name in sorted(files + links) if not excluded(here / name))
