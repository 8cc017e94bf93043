"""HTTP to what we need not trust: answers are bounded in size and time, redirects not followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from dspy_operator import errors, names
from dspy_operator.store import Object

_TIMEOUT_S = 10.0
_CONNECT_S = 3.0
_ERROR_MAX = 4096
_LINE_MAX = 1 << 20  # a line of a stream may be twice as long


class Outside:
    """One connection pool. Use as an async context manager. Errors leave as ServiceError."""

    def __init__(self, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Outside:
        connector = aiohttp.TCPConnector(limit=64)
        headers = {"User-Agent": names.FIELD_MANAGER}
        self._session = aiohttp.ClientSession(
            connector=connector, headers=headers, timeout=self._timeout, read_bufsize=_LINE_MAX
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        body: Object | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The body of a 2xx answer, to be read inside. ServiceRefusedError for 4xx, else ServiceUnavailableError."""
        if self._session is None:
            raise errors.OperatorError("Outside is used outside its context")
        try:
            async with self._session.request(
                method, url, json=body, params=query, headers=headers, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    said = (await response.content.read(_ERROR_MAX)).decode(errors="replace")
                    raise _classify(response.status, said)
                yield response.content
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise errors.ServiceUnavailableError(f"{error or type(error).__name__}") from error


async def read_all(content: aiohttp.StreamReader, limit: int) -> bytes:
    """The whole body. ServiceUnavailableError where it is larger than `limit` bytes."""
    kept = bytearray()
    async for chunk in content.iter_any():
        kept += chunk
        if len(kept) > limit:
            raise errors.ServiceUnavailableError(f"the answer is larger than {limit} bytes")
    return bytes(kept)


async def read_end(content: aiohttp.StreamReader, keep: int, limit: int, patience_s: float) -> bytes:
    """The last `keep` bytes of what came until the end, `limit` bytes or `patience_s`, whichever is first."""
    kept, total = bytearray(), 0
    try:
        async with asyncio.timeout(patience_s):
            async for chunk in content.iter_any():
                kept += chunk
                total += len(chunk)
                del kept[: max(0, len(kept) - keep)]
                if total > limit:
                    break
    except TimeoutError:
        pass  # what came is what there is
    return bytes(kept)


def _classify(status: int, said: str) -> errors.ServiceError:
    if 400 <= status < 500 and status not in (408, 429):
        return errors.ServiceRefusedError(said, status)
    return errors.ServiceUnavailableError(f"HTTP {status}: {said[:256]}")
