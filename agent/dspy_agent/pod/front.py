"""What a warm agent serves: `POST /v1/bind`, and beside it the session's interface, once there is one."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Callable

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from dspy_agent.core.events import MemoryLog
from dspy_agent.pod.bind import reasons
from dspy_agent.pod.binding import Binding
from dspy_agent.pod.metrics import Metrics
from dspy_agent.pod.server import App, Server, SessionState, create_app, error
from dspy_agent.settings import WarmSettings

MAX_BODY_BYTES = 4 * 1024 * 1024
LONGEST_WAIT_SECONDS = 10.0


class Front:
    """Listens from the constructor on. `can_take`: could a session begin at once?"""

    def __init__(self, settings: WarmSettings, binding: Binding, can_take: Callable[[], bool]) -> None:
        self._token_sha256 = settings.bind_token_sha256
        self._binding = binding
        self._begun = threading.Event()
        self._state = SessionState("", "", "", phase="Unbound")
        self._rest = create_app(
            self._state,
            settings.unbound.runner_token,
            MemoryLog(),
            Metrics(),
            # Once it is bound, it is ready when its workspace is.
            lambda: not binding.taken and can_take(),
        )
        routes = [Route("/v1/bind", self._bind, methods=["POST"]), Mount("/", self._other)]
        self.server = Server(settings.unbound.host, settings.unbound.port, App(routes=routes))

    def begin(self, state: SessionState, app: App) -> Server:
        """From now on, what is served is the session's."""
        self._state, self._rest = state, app
        self._begun.set()
        return self.server

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._rest(scope, receive, send)

    async def _bind(self, request: Request) -> Response:
        if not self._authorized(request):
            return error(401, "Unauthorized", "Send this pod's bind token: Authorization: Bearer <token>.")
        seconds = _wait_seconds(request)
        if seconds is None:
            return error(422, "Invalid", f"waitSeconds is a number from 0 to {LONGEST_WAIT_SECONDS:g}.")
        body = await _body(request)
        if body is None:
            return error(413, "TooLarge", f"A bind request has at most {MAX_BODY_BYTES} bytes.")
        try:
            ours = await run_in_threadpool(self._binding.offer, body)
        except ValidationError as problem:
            return error(422, "Invalid", f"The request cannot be bound: {reasons(problem)}.")
        if not ours:
            return error(409, "BoundToAnother", "This agent has another session; take another pod.")
        return JSONResponse({"state": await run_in_threadpool(self._state_within, seconds)})

    def _authorized(self, request: Request) -> bool:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        digest = hashlib.sha256(token.encode()).hexdigest()
        return hmac.compare_digest(digest, self._token_sha256)

    def _state_within(self, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        if self._begun.wait(seconds):
            self._state.settled.wait(max(0.0, deadline - time.monotonic()))
        if self._state.phase == "Finished":
            return "Finished"
        return "Ready" if self._state.ready.is_set() else "Preparing"


def _wait_seconds(request: Request) -> float | None:
    try:
        seconds = float(request.query_params.get("waitSeconds", "0"))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= LONGEST_WAIT_SECONDS else None


async def _body(request: Request) -> bytes | None:
    """None when it is too large; no more of it is read then."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)
