"""A stand-in for KubeRay and for Ray's dashboard, step by step: what a test calls is what has happened.

It keeps to what was observed of KubeRay 1.7 with Ray 2.60: the fields and their order, its finalizer, one jobId for
a job that is submitted again after its head was lost, and the tail of a job's log.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from tests.operator.kube import Kube, Object

FINALIZER = "ray.io/rayjob-finalizer"
CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "rayjobs.ray.io"},
    "spec": {
        "group": "ray.io",
        "scope": "Namespaced",
        "names": {"kind": "RayJob", "listKind": "RayJobList", "plural": "rayjobs", "singular": "rayjob"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


class StandInDashboard:
    """Serves the logs of jobs as Ray's dashboard does. `logs`: text by jobId."""

    def __init__(self) -> None:
        self.logs: dict[str, str] = {}
        self.requested: list[str] = []
        dashboard = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                dashboard.requested.append(self.path)
                status, body = dashboard.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StandInDashboard:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, bytes]:
        url = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/api/v0/logs/file" and query.get("submission_id") in self.logs:
            lines = self.logs[query["submission_id"]].splitlines(keepends=True)
            return 200, "".join(lines[-int(query["lines"]) :]).encode()
        job_id = url.path.removeprefix("/api/jobs/")
        if job_id in self.logs:
            return 200, json.dumps({"submission_id": job_id, "driver_node_id": "node-1"}).encode()
        return 404, b"no such job"


class StandInKubeRay:
    """Plays KubeRay for the RayJobs of one namespace."""

    def __init__(self, kube: Kube, dashboard: StandInDashboard) -> None:
        self._kube = kube
        self._dashboard = dashboard
        self._started = datetime.now(UTC).replace(microsecond=0)

    def accept(self, name: str) -> Object:
        """Takes a new RayJob up: its finalizer, and the fields that it has at once. Answers the RayJob."""
        seen = self._kube.until("rayjobs", name, lambda job: job is not None and not job.get("status"))
        assert seen is not None
        self._kube.patch("rayjobs", name, {"metadata": {"finalizers": [FINALIZER]}})
        job_id = f"{name}-{seen['metadata']['uid'][:5]}"
        self._dashboard.logs.setdefault(job_id, "")
        address = {"jobId": job_id, "dashboardURL": self._dashboard.address, "rayClusterName": f"{name}-c"}
        self.status(name, jobDeploymentStatus="Initializing", startTime=self._time(0), **address)
        return seen

    def run(self, name: str) -> Object:
        """Until the trainer runs. Answers the RayJob as it was created."""
        seen = self.accept(name)
        self.status(
            name,
            jobDeploymentStatus="Running",
            jobStatus="RUNNING",
            rayJobInfo={"startTime": self._time(5)},
        )
        return seen

    def print(self, name: str, *lines: Object | str) -> None:
        """The trainer prints these."""
        told = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        self._dashboard.logs[self._job_id(name)] += "".join(f"{line}\n" for line in told)

    def lose_head(self, name: str) -> None:
        """The head's pod is gone, and KubeRay submits the job again: the same jobId, from the start."""
        self.status(name, jobStatus="PENDING", rayJobInfo={"startTime": self._time(60)})

    def succeed(self, name: str) -> None:
        self.status(name, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", endTime=self._time(30))

    def fail(self, name: str, reason: str = "AppFailed", message: str = "exit code 7") -> None:
        ray = {"jobStatus": "FAILED"} if reason == "AppFailed" else {}
        self.status(
            name, jobDeploymentStatus="Failed", reason=reason, message=message, endTime=self._time(30), **ray
        )

    def clear(self, name: str) -> None:
        """The cluster of a RayJob that is being deleted is gone."""
        self._kube.until(
            "rayjobs", name, lambda job: job is not None and "deletionTimestamp" in job["metadata"]
        )
        self._kube.patch("rayjobs", name, {"metadata": {"finalizers": None}})

    def status(self, name: str, **fields: object) -> None:
        self._kube.patch("rayjobs", name, {"status": fields}, "status")

    def _job_id(self, name: str) -> str:
        seen = self._kube.get("rayjobs", name)
        assert seen is not None
        return str(seen["status"]["jobId"])

    def _time(self, after_s: int) -> str:
        return (self._started + timedelta(seconds=after_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
