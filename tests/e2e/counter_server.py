"""Counts what commands do to the world outside their pods, and holds them until they may go on.

POST /count/NAME     one more
GET  /count/NAME     how many there were
GET  /counted/NAME   the same, once there was one
POST /release/NAME   lets those go on that wait in
GET  /released/NAME
"""

from __future__ import annotations

import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST_SECONDS = 240


class Counters:
    """Numbers by name. `wait` blocks until a name was counted, or released, and says whether it was."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers: defaultdict[str, int] = defaultdict(int)

    def add(self, name: str) -> None:
        with self._changed:
            self._numbers[name] += 1
            self._changed.notify_all()

    def number(self, name: str) -> int:
        with self._changed:
            return self._numbers[name]

    def wait(self, name: str) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._numbers[name] > 0, LONGEST_SECONDS)


class Handler(BaseHTTPRequestHandler):
    """The five requests, on two sets of counters."""

    counted = Counters()
    released = Counters()

    def do_POST(self) -> None:
        verb, name = self.path.strip("/").split("/")
        counters = {"count": self.counted, "release": self.released}[verb]
        counters.add(name)
        self._answer(counters.number(name))

    def do_GET(self) -> None:
        verb, name = self.path.strip("/").split("/")
        counters = self.released if verb == "released" else self.counted
        in_time = verb == "count" or counters.wait(name)
        self._answer(counters.number(name), 200 if in_time else 504)

    def _answer(self, number: int, status: int = 200) -> None:
        body = str(number).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
