"""The one session of a warm agent: taken once, and kept for the agent that a restart of the container brings."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

from dspy_agent.pod.bind import BindRequest


class Binding:
    """Threads that serve offer requests; the main thread waits for the first."""

    def __init__(self, folder: Path) -> None:
        """Takes what an agent before this one took, if there was one: before any request can come in.

        `folder` is in memory, and nobody's but the agent's: the request holds secrets.
        """
        self._kept = folder / "request.json"
        self._lock = threading.Lock()
        self._request: Future[BindRequest] = Future()
        if self._kept.exists():
            self._request.set_result(BindRequest.model_validate_json(self._kept.read_bytes()))

    @property
    def taken(self) -> bool:
        return self._request.done()

    def offer(self, body: bytes) -> bool:
        """Take a request, unless there is one; False where that is of another session. Raises ValidationError."""
        request = BindRequest.model_validate_json(body)
        with self._lock:
            if not self.taken:
                self._keep(body)
                self._request.set_result(request)
            return self._request.result().session.metadata.uid == request.session.metadata.uid

    def wait(self) -> BindRequest:
        """Until a session is taken."""
        return self._request.result()

    def _keep(self, body: bytes) -> None:
        """By rename: whoever finds the file finds all of it."""
        partial = self._kept.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_bytes(body)
        partial.rename(self._kept)
