"""A stand-in for the agents of warm pods: serves /v1/bind on an address of its own per pod, and keeps what it was told.

The real agent's answers are tested in tests/agent; here only what the operator does with them.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# A loopback address per pod, in a range that differs between test runs on the same machine.
_numbers = itertools.count()
PORT = 9000


class StandInAgent:
    """One warm pod's agent. `answers`: what it says next instead of taking the session, as (status, body)."""

    def __init__(self, token_sha256: str) -> None:
        self.token_sha256 = token_sha256
        self.requests: list[dict[str, Any]] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._server = self._listen()
        self.address = str(self._server.server_address[0])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _listen(self) -> ThreadingHTTPServer:
        while True:
            number = next(_numbers)
            address = f"127.{10 + os.getpid() % 240}.{number // 250}.{number % 250 + 1}"
            try:
                server = ThreadingHTTPServer((address, PORT), self._handler())
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            server.daemon_threads = True
            return server

    def stop(self) -> None:
        """Refuses connections from here on."""
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, authorization: str, body: bytes) -> tuple[int, dict[str, Any]]:
        token = authorization.removeprefix("Bearer ")
        if hashlib.sha256(token.encode()).hexdigest() != self.token_sha256:
            return 401, {"error": {"code": "Unauthorized", "message": "The token is not this pod's."}}
        request = json.loads(body)
        uid = request["session"]["metadata"]["uid"]
        if self.requests and self.requests[0]["session"]["metadata"]["uid"] != uid:
            return 409, {"error": {"code": "BoundToAnother", "message": "It has another session."}}
        self.requests.append(request)
        return self.answers.pop(0) if self.answers else (200, {"state": "Ready"})

    def _handler(agent) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = agent.answer(self.headers["Authorization"], body)
                agent.asked.release()
                agent.may_answer.wait()
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                return

        return Handler
