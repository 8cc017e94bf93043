"""The orchestrator's API as the tests use it, in the middle of pods' deaths too."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
from dspy_agent.clients.orchestrator import server_sent

from tests.e2e.kube import Kube
from tests.e2e.portforward import PortForwardError, port_forward, secret_value

SERVICE, PORT = "service/dspy-agent-orchestrator", 9097
PATIENCE_SECONDS = 120
ENDED = {"Succeeded", "Failed", "Cancelled", "Dead"}
# What a client meets while a pod dies, and before the next one listens.
BROKEN = (httpx.TransportError, PortForwardError)

Record = dict[str, Any]


class Orchestrator:
    """One client. The forwarded port ends with the pod behind it: reading opens another then, changing does not."""

    def __init__(self, release: Kube, token: str) -> None:
        self._release, self._token = release, token
        self._open = ExitStack()
        self._client: httpx.Client | None = None

    def close(self) -> None:
        self._open.close()
        self._client = None

    def post(self, path: str, body: object = None) -> httpx.Response:
        return self._connected().post(path, json=body)

    def submit(self, **spec: object) -> str:
        """Send one task; return its id."""
        return str(accepted(self.post("/v1/tasks", spec))["id"])

    def get(self, path: str, **params: str | int) -> httpx.Response:
        """Ask until somebody answers."""
        patience = Patience(path)
        while True:
            try:
                response = self._connected().get(path, params=params)
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    return response
                why = response.text
            except BROKEN as error:
                self.close()
                why = repr(error)
            patience.use(why)

    def task(self, task: str) -> Record:
        return record(self.get(f"/v1/tasks/{task}"))

    def list(self, path: str = "/v1/tasks", **filters: str) -> Iterator[Record]:
        """Read all pages of a listing."""
        cursor = ""
        while True:
            page = record(self.get(path, limit=500, **filters, **({"cursor": cursor} if cursor else {})))
            yield from page["tasks"]
            if not (cursor := page.get("cursor", "")):
                return

    def follow(self, task: str) -> Iterator[Record]:
        """Yield the task whenever it changes, until it has ended."""
        patience, why = Patience(task), "the stream broke off"
        while True:
            try:
                with self._connected().stream("GET", f"/v1/tasks/{task}/events") as response:
                    for name, _, data in server_sent(response.iter_bytes()):
                        if name == "end":
                            return
                        if name == "task":
                            yield json.loads(data)
                            patience = Patience(task)
            except BROKEN as error:
                self.close()
                why = repr(error)
            patience.use(why)

    def ended(self, task: str) -> Record:
        """Wait for the task's end; return it as it is then."""
        for _ in self.follow(task):
            pass
        found = self.task(task)
        assert found["state"] in ENDED, found
        return found

    def metric(self, series: str) -> float:
        """The value of a series, labels and all; 0 of a counter that has not counted."""
        found = re.search(rf"^{re.escape(series)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def _connected(self) -> httpx.Client:
        if self._client is None:
            port = self._open.enter_context(port_forward(self._release, SERVICE, PORT))
            headers = {"Authorization": f"Bearer {self._token}"}
            client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30)
            self._client = self._open.enter_context(client)
        return self._client


class Patience:
    """How long tests wait for somebody to answer."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._deadline = time.monotonic() + PATIENCE_SECONDS

    def use(self, why: str) -> None:
        """Before another attempt. Nobody tells when a dead pod's successor listens."""
        if time.monotonic() > self._deadline:
            raise AssertionError(f"no answer about {self._what} for {PATIENCE_SECONDS} s: {why}")
        time.sleep(0.2)


def record(response: httpx.Response) -> Record:
    assert response.is_success, response.text
    found: Record = response.json()
    return found


def accepted(response: httpx.Response) -> Record:
    assert response.status_code == httpx.codes.ACCEPTED, response.text
    found: Record = response.json()
    return found


@contextmanager
def orchestrator_of(release: Kube, token: str = "") -> Iterator[Orchestrator]:
    """A client with that token, or as an admin."""
    client = Orchestrator(release, token or secret_value(release, "dspy-agent-orchestrator-token"))
    try:
        yield client
    finally:
        client.close()
