"""Work in a thread that nobody has to wait for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def in_background(action: Callable[[], T], name: str) -> Future[T]:
    """Run `action` in a daemon thread: whoever stops the session, or has no time left, need not wait for its end."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is wanted
            future.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return future
