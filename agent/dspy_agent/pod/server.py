"""The session's HTTP interface on port 9000, served by a thread beside the session."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dspy_agent.core.events import EventLog
from dspy_agent.errors import StoreError
from dspy_agent.pod.metrics import Metrics

MAX_EVENTS = 200
PHASES = ("Unbound", "Starting", "Working", "Interactive", "Finished")
App = Starlette


@dataclass
class SessionState:
    """What the interface tells; the session's thread writes it."""

    name: str
    namespace: str
    policy: str
    phase: str = "Starting"
    ready: threading.Event = field(default_factory=threading.Event)
    # Ready, or it will not be any more.
    settled: threading.Event = field(default_factory=threading.Event)

    def became_ready(self) -> None:
        self.phase = "Working"
        self.ready.set()
        self.settled.set()


class Server:
    """Listens from the constructor on; `stop` ends it in order."""

    def __init__(self, host: str, port: int, app: App) -> None:
        config = uvicorn.Config(
            app, host=host, port=port, log_config=None, access_log=False, lifespan="off", ws="none"
        )
        self._server = uvicorn.Server(config)
        self._socket = config.bind_socket()
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http"
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def create_app(
    state: SessionState,
    token: str,
    log: EventLog,
    metrics: Metrics,
    is_ready: Callable[[], bool] | None = None,
) -> App:
    """The routes; contracts/http/agent.yaml describes them. /readyz tells `is_ready`, the state's own by default."""
    is_ready = is_ready or state.ready.is_set

    def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    def readyz(_: Request) -> Response:
        if is_ready():
            return JSONResponse({"status": "ready"})
        return error(503, "NotReady", "The workspace is not ready yet; ask again.")

    def metrics_text(_: Request) -> Response:
        return Response(metrics.render(), media_type=metrics.content_type)

    def session(request: Request) -> Response:
        fields = {
            "name": state.name,
            "namespace": state.namespace,
            "policy": state.policy,
            "phase": state.phase,
        }
        return _authorized(request, token, lambda: JSONResponse(fields))

    def events(request: Request) -> Response:
        return _authorized(request, token, lambda: _events(request, log))

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics_text),
            Route("/v1/session", session),
            Route("/v1/events", events),
        ]
    )


def _events(request: Request, log: EventLog) -> Response:
    try:
        after = int(request.query_params.get("after", "0"))
        limit = int(request.query_params.get("limit", str(MAX_EVENTS)))
    except ValueError:
        return error(400, "BadRequest", "after and limit are whole numbers.")
    if after < 0 or not 1 <= limit <= MAX_EVENTS:
        return error(400, "BadRequest", f"after is 0 or more, limit 1 to {MAX_EVENTS}.")
    try:
        found = log.read(after, limit)
    except StoreError:
        return error(503, "StoreUnreachable", "The event log does not answer; try again.")
    body = {
        "events": [json.loads(event.to_json()) for event in found],
        "next": found[-1].seq if found else after,
    }
    return JSONResponse(body)


def _authorized(request: Request, token: str, answer: Callable[[], Response]) -> Response:
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return error(401, "Unauthorized", "Send the session's token: Authorization: Bearer <token>.")
    return answer()


def error(status: int, code: str, message: str) -> Response:
    """A reply that is not a success."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
