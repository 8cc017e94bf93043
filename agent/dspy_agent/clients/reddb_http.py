"""Reading RedDB over HTTP: for people's tools, which reach it through a port-forward."""

from __future__ import annotations

from types import TracebackType
from typing import Any
from urllib.parse import quote

from dspy_agent.clients.http import httpx
from dspy_agent.core.events import Event
from dspy_agent.errors import UsageError

TIMEOUT_SECONDS = 30.0


class RedDbHttp:
    """Events and blobs. Raises UsageError."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)

    def __enter__(self) -> RedDbHttp:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._http.close()

    def events(self, key: str, after: int, count: int) -> list[Event]:
        """At most `count` events of the stream with seq > after."""
        path = f"/v1/streams/{quote(key, safe='')}"
        reply = self._get(path, {"after": f"{after}-0", "count": count}).json()
        return [Event.from_json(entry["fields"]["event"]) for entry in reply["entries"]]

    def blob(self, digest: str) -> bytes:
        return self._get(f"/v1/blobs/{digest}", {}).content

    def _get(self, path: str, params: dict[str, Any]) -> httpx.Response:
        try:
            response = self._http.get(path, params=params)
        except httpx.HTTPError as error:
            raise UsageError(f"RedDB does not answer: {error!r}.") from error
        if response.is_error:
            raise UsageError(f"RedDB replied {response.status_code} to {path}: {response.text[:200]}")
        return response
