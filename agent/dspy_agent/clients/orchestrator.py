"""The orchestrator's API, for people's tools. Contract: contracts/http/orchestrator.yaml."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

from dspy_agent.clients.http import httpx, trace_headers
from dspy_agent.errors import UsageError

TIMEOUT_SECONDS = 30.0
# The orchestrator sends a comment every 15 s: after three without one it is gone.
SILENCE_SECONDS = 45.0
# How long no stream may be had until following ends.
AWAY_SECONDS = 60.0
RETRY_SECONDS = 1.0
LATER = (429, 503)
PAGE = 500
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class TaskEvent:
    """`name` is task, log or end; what `data` holds is in the contract."""

    name: str
    data: dict[str, Any]


class Orchestrator:
    """Tasks. Raises UsageError with what the orchestrator said."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}", **trace_headers()}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)

    def __enter__(self) -> Orchestrator:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._http.close()

    def submit(self, spec: Mapping[str, Any]) -> str:
        """Its id: what has one is stored."""
        return str(self._json("POST", "/v1/tasks", json=spec)["id"])

    def task(self, task_id: str) -> dict[str, Any]:
        return self._json("GET", _path(task_id))

    def tasks(self, filters: Mapping[str, str], most: int) -> list[dict[str, Any]]:
        """At most `most`, newest first. Pages may be short, and even empty, before the last."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while len(found) < most:
            asked = {
                **filters,
                "limit": min(most - len(found), PAGE),
                **({"cursor": cursor} if cursor else {}),
            }
            page = self._json("GET", "/v1/tasks", params=asked)
            found += page["tasks"]
            cursor = page.get("cursor", "")
            if not cursor:
                break
        return found

    def cancel(self, task_id: str) -> dict[str, Any]:
        return self._json("POST", f"{_path(task_id)}/cancel")

    def close_scope(self, task_id: str) -> dict[str, Any]:
        return self._json("POST", f"{_path(task_id)}/close")

    def retry(self, task_id: str) -> dict[str, Any]:
        """Puts a dead letter back."""
        return self._json("POST", f"/v1/dead-letters/{quote(task_id, safe='')}/retry")

    def events(self, task_id: str) -> Iterator[TaskEvent]:
        """Until the task's end. A stream that breaks off goes on after the last event that came, however long ago."""
        last_id, away_since = "", time.monotonic()
        while True:
            problem = "its stream ended"
            try:
                with self._stream(task_id, last_id) as response:
                    if response.status_code in LATER:
                        response.read()
                        problem = _said(response)
                    elif response.is_error:
                        response.read()
                        raise UsageError(_said(response))
                    elif not response.headers.get("Content-Type", "").startswith(EVENT_STREAM):
                        raise UsageError("The reply is no stream of events; is this the orchestrator?")
                    else:
                        try:
                            for name, event_id, data in server_sent(response.iter_bytes()):
                                last_id = event_id
                                yield TaskEvent(name, json.loads(data))
                                if name == "end":
                                    return
                        finally:  # it was there until now, if only to say that nothing had happened
                            away_since = time.monotonic()
            except httpx.HTTPError as error:
                problem = repr(error)
            if time.monotonic() - away_since > AWAY_SECONDS:
                raise UsageError(f"The orchestrator does not answer: {problem}")
            time.sleep(RETRY_SECONDS)

    def _stream(self, task_id: str, last_id: str) -> Any:
        headers = {"Accept": EVENT_STREAM, **({"Last-Event-ID": last_id} if last_id else {})}
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=SILENCE_SECONDS)
        return self._http.stream("GET", f"{_path(task_id)}/events", headers=headers, timeout=timeout)

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise UsageError(f"The orchestrator does not answer: {error!r}.") from error
        if response.is_error:
            raise UsageError(_said(response))
        try:
            value: dict[str, Any] = response.json()
        except ValueError as error:
            raise UsageError(f"The reply to {method} {path} is no JSON; is this the orchestrator?") from error
        return value


def server_sent(chunks: Iterable[bytes]) -> Iterator[tuple[str, str, bytes]]:
    """Events as (name, id, data). Lines end with a line feed and nothing else: httpx would also break them at
    characters that JSON holds as they are."""
    rest, fields = b"", {}
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            key, _, value = line.rstrip(b"\r").partition(b":")
            if key:
                fields[key] = value.removeprefix(b" ")
            elif not line.strip() and b"data" in fields:
                yield fields.get(b"event", b"").decode(), fields.get(b"id", b"").decode(), fields[b"data"]
                fields = {}


def _path(task_id: str) -> str:
    return f"/v1/tasks/{quote(task_id, safe='')}"


def _said(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return f"{error['message']} ({error['code']})"
    except (ValueError, KeyError, TypeError):
        return f"The orchestrator replied {response.status_code}: {response.text[:200]}"
