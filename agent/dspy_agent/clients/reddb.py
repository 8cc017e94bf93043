"""RedDB: the event log over RESP, blobs over HTTP. Contract: contracts/http/reddb.yaml.

Both wait through a restart of the store: a request that got no answer, or an answer that says that the store is in
trouble, is sent again until the retry window closes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dspy_agent.clients.http import httpx, tls
from dspy_agent.core.events import Event
from dspy_agent.errors import LogFenced, StoreRefused, StoreUnreachable

RETRY_SECONDS = 120.0
RETENTION = timedelta(days=90)
TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

T = TypeVar("T")


def patiently(
    action: Callable[[], T], unavailable: tuple[type[Exception], ...], retry_seconds: float, what: str
) -> T:
    """Repeat `action` while it raises one of `unavailable`. Raises StoreUnreachable when the window closes."""
    deadline = time.monotonic() + retry_seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except unavailable as error:
            if time.monotonic() + pause > deadline:
                raise StoreUnreachable(
                    f"RedDB did not answer within {retry_seconds:g} s ({what}: {error}); look at the reddb pod."
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class StreamLog:
    """An `EventLog` on one stream: entry `<seq>-0`, field `event`.

    The store refuses an id that is not above the last one: that is the fence between two agents of one session. The
    stream goes by itself `retention` after its last event: nobody has to be alive to clean up.
    """

    def __init__(
        self,
        url: str,
        token: str,
        key: str,
        retry_seconds: float = RETRY_SECONDS,
        retention: timedelta = RETENTION,
    ) -> None:
        self._key = key
        self._retention = retention
        self._retry_seconds = retry_seconds
        self._redis = redis.Redis.from_url(
            url,
            password=token,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            # `patiently` is the only place that repeats requests.
            retry=Retry(NoBackoff(), 0),
        )

    def append(self, event: Event) -> None:
        text = event.to_json().encode()
        try:
            self._patiently(lambda: self._add(event.seq, text), "XADD")
        except redis.ResponseError as error:
            if "equal or smaller" not in str(error):
                raise StoreRefused(f"RedDB refused event {event.seq}: {error}.") from error
            # After a lost answer the entry may be our own: then it is stored, and all is well.
            if self._stored(event.seq) != text:
                raise LogFenced(f"Another agent wrote event {event.seq} of this session.") from error

    def read(self, after: int, count: int) -> Sequence[Event]:
        entries = self._range(after + 1, "+", count)
        return [Event.from_json(fields[b"event"]) for _, fields in entries]

    def close(self) -> None:
        self._redis.close()

    def _add(self, seq: int, text: bytes) -> None:
        """One round trip and one transaction: an entry never stands without the stream's end."""
        with self._redis.pipeline(transaction=True) as both:
            both.xadd(self._key, cast(Any, {"event": text}), id=f"{seq}-0")
            both.expire(self._key, self._retention)
            both.execute()

    def _stored(self, seq: int) -> bytes | None:
        entries = self._range(seq, f"{seq}-0", 1)
        return entries[0][1].get(b"event") if entries else None

    def _range(self, start: int, end: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        try:
            entries = self._patiently(
                lambda: self._redis.xrange(self._key, f"{start}-0", end, count), "XRANGE"
            )
        except redis.ResponseError as error:
            raise StoreRefused(f"RedDB refused to read the event log: {error}.") from error
        return cast(list[tuple[bytes, dict[bytes, bytes]]], entries)

    def _patiently(self, action: Callable[[], T], what: str) -> T:
        def attempt() -> T:
            try:
                return action()
            except redis.AuthenticationError as error:
                # redis-py counts it as a connection error, but waiting does not mend it.
                raise StoreRefused(
                    f"RedDB refused the session's token ({error}): where it was replaced, create the session again."
                ) from error

        return patiently(attempt, (redis.ConnectionError, redis.TimeoutError), self._retry_seconds, what)


class BlobClient:
    """Content by its sha256. What is put stays for `retention`, or as long as somebody else asked for."""

    def __init__(
        self, url: str, token: str, retry_seconds: float = RETRY_SECONDS, retention: timedelta = RETENTION
    ) -> None:
        self._retention = retention
        self._retry_seconds = retry_seconds
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            verify=tls(),
        )

    def put(self, content: bytes) -> str:
        """Store content; its sha256 in hex."""
        digest = sha256(content).hexdigest()
        lasts = int(self._retention.total_seconds())
        response = self._send("PUT", f"/v1/blobs/{digest}?expires_seconds={lasts}", content)
        if response.is_error:
            raise StoreRefused(f"RedDB refused a blob of {len(content)} bytes: {response.text[:200]}")
        return digest

    def get(self, digest: str) -> bytes:
        """Content of a blob. Raises StoreRefused when there is none, or when it is not what its name says."""
        response = self._send("GET", f"/v1/blobs/{digest}")
        if response.is_error:
            raise StoreRefused(f"RedDB has no blob {digest}: {response.text[:200]}")
        if sha256(response.content).hexdigest() != digest:
            raise StoreRefused(f"RedDB returned other content than blob {digest}.")
        return response.content

    def close(self) -> None:
        self._http.close()

    def _send(self, method: str, path: str, content: bytes | None = None) -> httpx.Response:
        def attempt() -> httpx.Response:
            response = self._http.request(method, path, content=content)
            if response.is_server_error:
                # RedDB's trouble, not our request's: content under its own hash may be sent any number of times.
                response.raise_for_status()
            return response

        unavailable = (httpx.TransportError, httpx.HTTPStatusError)
        return patiently(attempt, unavailable, self._retry_seconds, f"{method} {path}")
