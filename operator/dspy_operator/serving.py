"""/healthz, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from dspy_operator.settings import listen_address

# Answers a sentence that says what is missing, or None.
Check = Callable[[], str | None]


class Server:
    """The probe and metrics endpoint. `alive` and `ready` are asked at every probe."""

    def __init__(self, listen: str, registry: CollectorRegistry, alive: Check, ready: Check) -> None:
        self._listen = listen_address(listen)
        self._registry = registry
        app = web.Application()
        app.router.add_get("/healthz", lambda _: _probe(alive))
        app.router.add_get("/readyz", lambda _: _probe(ready))
        app.router.add_get("/metrics", self._metrics)
        # Idle connections would hold up the shutdown of the event loop's tasks.
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=1.0)

    async def start(self) -> int:
        """Listens. Answers the port, which the system chose where the setting said 0."""
        await self._runner.setup()
        host, port = self._listen
        await web.TCPSite(self._runner, host, port).start()
        address: tuple[str, int] = self._runner.addresses[0]
        return address[1]

    async def stop(self) -> None:
        """Closes the listener and its connections."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _probe(check: Check) -> web.Response:
    missing = check()
    if missing is None:
        return web.json_response({"status": "ok"})
    return web.json_response({"error": {"code": "NotReady", "message": missing}}, status=503)
