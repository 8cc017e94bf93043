"""A stand-in for the orchestrator with its Slurm: contracts/http/orchestrator.yaml, as far as training goes."""

from __future__ import annotations

import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from tests.operator.kube import Object

TOKEN = "admin-token"
OVER = ("Succeeded", "Failed", "Cancelled", "Dead")


class StandInOrchestrator:
    """Tasks that stand as a test says. `cancellable`: whether a cancelled task ends at once."""

    def __init__(self) -> None:
        self.tasks: dict[str, Object] = {}
        self.specs: dict[str, Object] = {}
        self.logs: dict[str, bytes] = {}
        self.cancellable = True
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> StandInOrchestrator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens, after a stop on the same port."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def until_task(self, number: int) -> str:
        """The id of the task that was submitted as that one, from 1."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.tasks) >= number, timeout=30)
        return list(self.tasks)[number - 1]

    def until_state(self, task_id: str, state: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.tasks[task_id]["state"] == state, timeout=30)

    def run(self, task_id: str, job: int) -> None:
        """Slurm has begun it."""
        self.change(
            task_id,
            state="Running",
            place=f"slurm job {job}",
            started_at="2026-01-01T00:00:00.123Z",
            attempts=1,
        )

    def lose(self, task_id: str, job: int) -> None:
        """Slurm lost that job: the orchestrator will submit another one, which waits."""
        fault = {"code": "SlurmNodeFailed", "message": "Slurm lost the job on n1 (NODE_FAIL)"}
        place = f"slurm job {job}"
        began = {"number": 1, "token": 1, "place": place, "started_at": "2026-01-01T00:00:00.123Z"}
        self.change(task_id, state="Queued", place="", error=fault, history=[{**began, "error": fault}])

    def print(self, task_id: str, *lines: Object | str) -> None:
        told = [each if isinstance(each, str) else json.dumps(each) + "\n" for each in lines]
        self.logs[task_id] = self.logs.get(task_id, b"") + "".join(told).encode()

    def end(self, task_id: str, state: str, slurm: str, **result: object) -> None:
        said = {"exit_code": 0, "signal": None, "reason": "Completed", **result}
        finished = {"finished_at": "2026-01-01T00:01:00Z"}
        self.change(
            task_id,
            state=state,
            result={**said, "slurm": {"job_id": 7, "state": slurm, "restarts": 0}},
            **finished,
        )

    def change(self, task_id: str, **fields: object) -> None:
        with self._changed:
            self.tasks[task_id].update(fields)
            self._changed.notify_all()

    def submit(self, spec: Object) -> tuple[int, Object]:
        for task_id, known in self.specs.items():
            if known["idempotency_key"] == spec["idempotency_key"]:
                return (
                    (202, {"id": task_id})
                    if known == spec
                    else (409, {"error": {"code": "IdempotencyConflict"}})
                )
        task_id = str(uuid.uuid4())
        with self._changed:
            self.specs[task_id] = spec
            self.tasks[task_id] = {"id": task_id, "state": "Queued", "attempts": 0}
            self._changed.notify_all()
        return 202, {"id": task_id}

    def cancel(self, task_id: str) -> tuple[int, Object]:
        if self.tasks[task_id]["state"] in OVER:
            return 409, {"error": {"code": "TaskEnded"}}
        if self.cancellable:
            self.change(task_id, state="Cancelled")
        return 200, self.tasks[task_id]


def _handler(orchestrator: StandInOrchestrator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = self.path.split("/")
            if self.path == "/v1/tasks":
                self._answer(*orchestrator.submit(json.loads(body)))
            elif parts[3] in orchestrator.tasks:
                self._answer(*orchestrator.cancel(parts[3]))
            else:
                self._answer(404, {"error": {"code": "NotFound"}})

        def do_GET(self) -> None:
            task_id = self.path.split("/")[3]
            if task_id not in orchestrator.tasks:
                self._answer(404, {"error": {"code": "NotFound"}})
            elif self.path.endswith("/events"):
                self._stream(task_id)
            else:
                self._answer(200, orchestrator.tasks[task_id])

        def _stream(self, task_id: str) -> None:
            """Pieces that end where it happens, as the orchestrator's do, then the end: a short stream."""
            self.send_response(200)
            self.end_headers()
            last = self.headers.get("Last-Event-ID") or "..0"
            offset, log = int(last.split(".")[2]), orchestrator.logs.get(task_id, b"")
            while offset < len(log):
                text = log[offset : offset + 37].decode()
                data = json.dumps({"offset": offset, "text": text})
                offset += len(text)
                self.wfile.write(f"event: log\nid: 00ff.1.{offset}\ndata: {data}\n\n".encode())
            self.wfile.write(b'event: end\nid: 00ff.1.0\ndata: {"state": "Running"}\n\n')

        def _answer(self, status: int, body: Object) -> None:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, body = 401, {"error": {"code": "Unauthorized"}}
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    return Handler
