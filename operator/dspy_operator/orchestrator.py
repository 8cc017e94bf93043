"""The orchestrator's REST API: the only I/O to it. Its contract is contracts/http/orchestrator.yaml."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from dspy_operator import errors
from dspy_operator.outside import Outside, read_all
from dspy_operator.store import Object

_TASK_MAX = 8 << 20  # a task with both of its outputs
_LOG_MAX = 1 << 20  # of one look at a log
_LOG_S = 5.0  # for one look
_QUIET_S = 1.2  # after which there is no more for now: the stream brings a piece every half second
_LINE_MAX = 64 << 10


class Orchestrator:
    """Implements reconcile.context.TaskQueue. The token is read at every use: a rotated Secret counts at once."""

    def __init__(self, outside: Outside, url: str, token_file: Path) -> None:
        self._outside = outside
        self._url = url.rstrip("/")
        self._token_file = token_file

    async def submit(self, task: Object) -> str:
        """The id of the task, which is the same for the same idempotency key."""
        answer = await self._ask("POST", "/v1/tasks", task)
        return str(answer["id"])

    async def get(self, task_id: str) -> Object | None:
        """The task, or None where it has expired, or never was."""
        return await self._ask_of("GET", task_id, "")

    async def cancel(self, task_id: str) -> Object | None:
        """Cancels it. The task as it is then, or None where there is none."""
        try:
            return await self._ask_of("POST", task_id, "/cancel")
        except errors.ServiceRefusedError as error:
            if error.status != 409:  # it has ended
                raise
            return await self.get(task_id)

    async def log(self, task_id: str, position: str) -> tuple[str, str]:
        """Whole lines that the task printed after `position` ("" is the beginning), and the position after them."""
        headers = self._headers()
        if position:
            headers["Last-Event-ID"] = position
        async with self._outside.request("GET", self._path(task_id, "/events"), headers=headers) as content:
            text, event_id = await _log_events(content)
        whole, newline, rest = text.rpartition("\n")
        if len(rest) > _LINE_MAX:
            rest = ""  # no line for us: passed over
        return whole + newline, _before(event_id, rest) if text else position

    async def _ask_of(self, method: str, task_id: str, action: str) -> Object | None:
        try:
            return await self._ask(method, f"/v1/tasks/{quote(task_id)}{action}", None)
        except errors.ServiceRefusedError as error:
            if error.status == 404:
                return None
            raise

    async def _ask(self, method: str, path: str, body: Object | None) -> Object:
        url = self._url + path
        async with self._outside.request(method, url, body=body, headers=self._headers()) as content:
            answer = await read_all(content, _TASK_MAX)
        try:
            told: Object = json.loads(answer)
        except ValueError as error:
            raise errors.ServiceUnavailableError("the answer is no JSON") from error
        return told

    def _path(self, task_id: str, action: str) -> str:
        return f"{self._url}/v1/tasks/{quote(task_id)}{action}"

    def _headers(self) -> dict[str, str]:
        try:
            token = self._token_file.read_text().strip()
        except OSError as error:
            raise errors.ServiceUnavailableError(f"the token cannot be read: {error}") from error
        return {"Authorization": f"Bearer {token}"}


async def _log_events(content: aiohttp.StreamReader) -> tuple[str, str]:
    """The text of the stream's `log` events and the id of the last, until none came for a while, or enough."""
    pieces, fields, size, event_id = list[str](), dict[str, str](), 0, ""
    latest = _now() + _LOG_S
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_QUIET_S) as patience:
            while size < _LOG_MAX and fields.get("event") != "end":
                line = (await content.readline()).decode(errors="replace")
                if not line:
                    break
                if line.strip():
                    name, _, value = line.rstrip("\r\n").partition(": ")
                    fields[name] = value
                    continue
                if fields.get("event") == "log":
                    pieces.append(_text(fields.get("data", "")))
                    size, event_id = size + len(pieces[-1]), fields.get("id", "")
                    patience.reschedule(min(latest, _now() + _QUIET_S))
                fields.clear()
    return "".join(pieces), event_id


def _now() -> float:
    return asyncio.get_running_loop().time()


def _before(event_id: str, rest: str) -> str:
    """The position `rest` before an event's, whose id is `<hash>.<attempt>.<bytes>`: a line's beginning."""
    try:
        _, attempt, offset = event_id.split(".")
        return f".{int(attempt)}.{max(0, int(offset) - len(rest.encode()))}"
    except ValueError as error:
        raise errors.ServiceUnavailableError("an event's id is not the orchestrator's") from error


def _text(data: str) -> str:
    try:
        told: Any = json.loads(data)
        return str(told["text"])
    except (ValueError, TypeError, KeyError) as error:
        raise errors.ServiceUnavailableError("an event of the log is not the orchestrator's") from error
