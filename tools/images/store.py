"""The image store: docker archives in the cache, named `<name>-<hash of everything that went into it>.tar`.

`<name>.tar` links to the newest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.common import paths
from tools.common.process import ToolError


def folder() -> Path:
    return paths.cache() / "images"


def archive(name: str, key: str) -> Path:
    return folder() / f"{name}-{key}.tar"


def latest(name: str) -> Path:
    return folder() / f"{name}.tar"


@contextmanager
def writing(name: str, key: str) -> Iterator[Path]:
    """A path to write an archive to, which becomes the archive when the block ends well."""
    folder().mkdir(parents=True, exist_ok=True)
    partial = archive(name, key).with_suffix(".partial")
    partial.unlink(missing_ok=True)
    yield partial
    partial.rename(archive(name, key))


def publish(name: str, newest: Path) -> None:
    """Point the link at the newest archive and delete older ones, which nothing would load again."""
    link = latest(name)
    if link.is_symlink() and link.resolve() == newest:
        return
    fresh = link.with_suffix(".link")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(newest.name)
    fresh.replace(link)
    key_length = len(newest.stem) - len(name) - 1
    for old in folder().glob(f"{name}-{'?' * key_length}.tar"):
        if old != newest:
            old.unlink()


def archives_of(images: Iterable[str]) -> list[Path]:
    """Paths of archives, given image names or paths.

    Raises:
        ToolError: one has not been built.
    """
    found = []
    for image in images:
        path = Path(image) if image.endswith(".tar") else latest(image)
        if not path.exists():
            raise ToolError(
                f"There is no image archive {path}; `python3 -m tools.images build {image}` makes one."
            )
        found.append(path.resolve())
    return found
