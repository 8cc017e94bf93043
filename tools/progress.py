"""Progress on a terminal or in a log: a line when a stage begins, a line when it ends, with the time it took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STARTED = time.monotonic()
_STILL_WORKING_EVERY_SECONDS = 20.0


def say(message: str) -> None:
    """Print `message` behind the seconds since this process began."""
    print(f"[{time.monotonic() - _STARTED:6.1f}s] {message}", file=sys.stderr, flush=True)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Announce `name`, say every 20 s that it goes on, and say how long it took or that it failed."""
    started = time.monotonic()
    ended = threading.Event()

    def remind() -> None:
        while not ended.wait(_STILL_WORKING_EVERY_SECONDS):
            say(f"{name}: still working, {time.monotonic() - started:.0f}s so far")

    say(f"{name} ...")
    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        ended.set()
        reminder.join()
        say(f"{name}: {outcome} in {time.monotonic() - started:.1f}s")
