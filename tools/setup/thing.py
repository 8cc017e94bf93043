"""What can be installed: a name, a quick test for its presence, and a way to get it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.common import paths


@dataclass(frozen=True)
class Thing:
    """Attributes:
    group: what one asks for on the command line.
    present: answers within milliseconds, changing nothing.
    install: leaves it present, or raises ToolError with a sentence that says how to get it by hand.
    """

    name: str
    group: str
    present: Callable[[], bool]
    install: Callable[[], None]


def key_of(*parts: str, files: Iterable[Path] = ()) -> str:
    """A short hash of everything that a built thing depends on."""
    digest = hashlib.sha256("\0".join(parts).encode())
    for file in files:
        digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def stamp(name: str) -> Path:
    """Holds the key of what was last built under this name."""
    return paths.cache() / "bin" / ".keys" / name


def stamped(name: str, key: str) -> bool:
    path = stamp(name)
    return path.exists() and path.read_text() == key


def write_stamp(name: str, key: str) -> None:
    stamp(name).parent.mkdir(parents=True, exist_ok=True)
    stamp(name).write_text(key)
