"""A session's place in its event log: what was recorded before a restart, then what is appended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from dspy_agent.core.events import PAGE, Event, EventLog
from dspy_agent.errors import ReplayMismatch

Listener = Callable[[Event], None]


class Journal:
    """Hands out the recorded events once, in order, and appends the new ones after them."""

    def __init__(self, log: EventLog, elapsed: Callable[[], float] = lambda: 0.0) -> None:
        self._log = log
        self._listeners: list[Listener] = []
        self._page: list[Event] = []
        self._handed_out = 0
        self.elapsed = elapsed
        self.last: Event | None = self._last()

    @property
    def seq(self) -> int:
        """seq of the newest event; 0 for an empty log."""
        return self.last.seq if self.last else 0

    @property
    def replaying(self) -> bool:
        """Whether there are recorded events that were not handed out."""
        return self._peek() is not None

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every event that is appended from now on."""
        self._listeners.append(listener)

    def recorded(self, event_type: str) -> Event | None:
        """The next recorded event, which must be of that type; None after the last one.

        Raises ReplayMismatch: the session does not repeat what its log says.
        """
        event = self._peek()
        if event is None:
            return None
        if event.type != event_type:
            raise ReplayMismatch(
                f"Event {event.seq} of the log is {event.type}, but the session came to {event_type}; "
                "delete the session and create it again."
            )
        self._page.pop(0)
        self._handed_out = event.seq
        return event

    def resume(self) -> None:
        """Note in the log that the session starts again; no replay repeats such a note."""
        if self.last is not None:
            self._write("session_resumed", {"after": self.last.seq})

    def append(self, event_type: str, data: Mapping[str, Any]) -> Event:
        """Record an event; returns when it is durable."""
        if self.replaying:
            raise ReplayMismatch(f"The session came to {event_type} before it repeated its whole log.")
        event = self._write(event_type, data)
        self._handed_out = event.seq
        return event

    def abandon(self, event_type: str, data: Mapping[str, Any]) -> Event:
        """Record the end of a session that failed, whether or not the whole log was repeated."""
        return self._write(event_type, data)

    def _write(self, event_type: str, data: Mapping[str, Any]) -> Event:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = Event(self.seq + 1, event_type, now, round(self.elapsed(), 3), data)
        self._log.append(event)
        self.last = event
        for listener in self._listeners:
            listener(event)
        return event

    def _peek(self) -> Event | None:
        """Passes over notes of earlier restarts, which no session repeats."""
        while self._handed_out < self.seq:
            if not self._page:
                self._page = list(self._log.read(self._handed_out, min(PAGE, self.seq - self._handed_out)))
            if self._page[0].type != "session_resumed":
                return self._page[0]
            self._handed_out = self._page.pop(0).seq
        return None

    def _last(self) -> Event | None:
        last: Event | None = None
        while page := self._log.read(last.seq if last else 0, PAGE):
            last = page[-1]
        return last
