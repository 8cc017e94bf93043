"""The image store: docker archives in the cache, named `<component>-<hash of everything that went into it>.tar`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tools.common import paths
from tools.common.process import ToolError


def folder() -> Path:
    return paths.cache() / "images"


def latest(component: str) -> Path:
    """A link to the newest archive of a component."""
    return folder() / f"{component}.tar"


def archives_of(images: Iterable[str]) -> list[Path]:
    """Paths of archives, given component names or paths.

    Raises:
        ToolError: a component has not been built.
    """
    found = []
    for image in images:
        path = Path(image) if image.endswith(".tar") else latest(image)
        if not path.exists():
            raise ToolError(f"There is no image archive {path}; `python3 -m tools.images build {image}` makes one.")
        found.append(path.resolve())
    return found
