"""Events of a session and the log that keeps them. The shapes are in contracts/events/session-event.schema.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

MAX_EVENT_BYTES = 8 * 1024 * 1024
PAGE = 200


@dataclass(frozen=True)
class Event:
    """One entry. `seq` counts from 1 without gaps; `time` is RFC 3339 UTC; `elapsed_seconds` is working time."""

    seq: int
    type: str
    time: str
    elapsed_seconds: float
    data: Mapping[str, Any]

    def to_json(self) -> str:
        """The event as one line of JSON."""
        fields = {
            "seq": self.seq,
            "type": self.type,
            "time": self.time,
            "elapsed_seconds": self.elapsed_seconds,
            "data": self.data,
        }
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Event:
        """The event that `to_json` wrote; fields that this version does not know are ignored."""
        value = json.loads(text)
        return cls(value["seq"], value["type"], value["time"], value["elapsed_seconds"], value["data"])


class EventLog(Protocol):
    """An append-only log with one owner. An append returns once the event is durable.

    Raises LogFenced when somebody else appended, StoreUnreachable when the store does not answer.
    """

    def append(self, event: Event) -> None: ...

    def read(self, after: int, count: int) -> Sequence[Event]:
        """At most `count` events with seq > after, in order."""
        ...


class MemoryLog:
    """A log that lives as long as the process: for the CLI without --events, and for tests."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def append(self, event: Event) -> None:
        self._events.append(event)

    def read(self, after: int, count: int) -> Sequence[Event]:
        return self._events[after : after + count]


class JsonlLog:
    """A log in a file, one event per line. A line that a crash left unfinished is cut off."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        self._offsets: list[int] = []
        self._end = 0
        self._index()

    def append(self, event: Event) -> None:
        self._file.seek(self._end)
        line = event.to_json().encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._offsets.append(self._end)
        self._end += len(line)

    def read(self, after: int, count: int) -> Sequence[Event]:
        events = []
        for offset in self._offsets[after : after + count]:
            self._file.seek(offset)
            events.append(Event.from_json(self._file.readline()))
        return events

    def close(self) -> None:
        self._file.close()

    def _index(self) -> None:
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(self._end)
                return
            self._offsets.append(self._end)
            self._end += len(line)
