"""Progress lines: what happens now, and how long since the command started."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Writes lines such as `[ 12.3s] building etcd` to stderr, so that stdout stays for results."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._started = time.monotonic()

    def line(self, text: str) -> None:
        elapsed = time.monotonic() - self._started
        # One write per line: parallel builds share the stream.
        self._stream.write(f"[{elapsed:6.1f}s] {text}\n")
        self._stream.flush()

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Tell a step's beginning and its duration; a step that raises tells nothing more."""
        self.line(f"{text} ...")
        began = time.monotonic()
        yield
        self.line(f"{text}: done in {time.monotonic() - began:.1f} s")
