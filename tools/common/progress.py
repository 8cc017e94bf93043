"""Progress lines: what happens now, and how long since the command started."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# Nobody should wonder for longer whether a build still lives.
REMINDER_SECONDS = 30.0


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
        ended = threading.Event()
        reminder = threading.Thread(target=self._remind, args=(text, ended), daemon=True)
        reminder.start()
        try:
            yield
        finally:
            ended.set()
            reminder.join()
        self.line(f"{text}: done in {time.monotonic() - began:.1f} s")

    def _remind(self, text: str, ended: threading.Event) -> None:
        while not ended.wait(REMINDER_SECONDS):
            self.line(f"{text}: still at it")
