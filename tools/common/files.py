"""Files and folders that others may be at work on as well."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType]


def remove_tree(folder: Path) -> None:
    """Remove `folder` with all below it. What is gone by the time we come to it is what was asked for.

    Raises:
        OSError: something could not be removed, and is still there.
    """
    shutil.rmtree(folder, onerror=_unless_gone)


def _unless_gone(_function: object, _path: str, raised: ExceptionInfo) -> None:
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]
