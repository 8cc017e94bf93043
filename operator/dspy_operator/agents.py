"""The only I/O to agents: binding a session to a warm pod.

What is sent bears Secrets' values: neither the request nor its parts may reach a log, an event or an error.
"""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from dspy_operator import errors

MAX_BODY_BYTES = 4 * 2**20
STATES = frozenset({"Ready", "Preparing", "Finished"})

_MAX_ANSWER_BYTES = 16 * 1024
_MAX_CONNECTIONS = 64
_CONNECT_S = 2.0
_ANSWER_S = 5.0  # beyond the time that the agent was asked to wait
_TOLD_CHARACTERS = 512


class Agents:
    """Connections to the agents of warm pods. Use as an async context manager."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Agents:
        # One request per pod: a connection that was kept would only be found dead.
        connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, force_close=True)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def bind(self, endpoint: str, token: str, body: bytes, wait_s: int) -> str:
        """Gives a session to the agent: `Ready`, `Preparing` or `Finished`. Again is fine. Raises an AgentError."""
        if self._session is None:
            raise errors.OperatorError("Agents is used outside its context")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            async with self._session.post(
                f"{endpoint}/v1/bind",
                params={"waitSeconds": str(wait_s)},
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=wait_s + _ANSWER_S, sock_connect=_CONNECT_S),
            ) as response:
                text, status = await _read(response), response.status
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise errors.AgentUnreachableError(f"no connection to the agent: {_words(error)}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.AgentSilentError(f"no answer from the agent: {_words(error)}") from error
        return _state(status, text)


async def _read(response: aiohttp.ClientResponse) -> str:
    """The answer's beginning: what an agent has to say is short."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > _MAX_ANSWER_BYTES:
            break
    return data[:_MAX_ANSWER_BYTES].decode(errors="replace")


def _state(status: int, text: str) -> str:
    answer = _parse(text)
    if status == 200 and answer.get("state") in STATES:
        return str(answer["state"])
    if 400 <= status < 500:
        error = answer.get("error")
        said = error.get("message") if isinstance(error, dict) else text
        raise errors.AgentRefusedError(str(said)[:_TOLD_CHARACTERS], status)
    raise errors.AgentSilentError(f"the agent's answer cannot be read (status {status})")


def _parse(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
