"""Scheduler and kubelet, played: the tests' apiserver has no node, so pod statuses are written by hand here.

What is written follows what a kubelet of Kubernetes 1.34 writes for the same pod. Everything else is real.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.operator.kube import Kube, Object

IMAGE = {"image": "localhost/test", "imageID": "", "restartCount": 0}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod_condition(kind: str, status: str, **more: str) -> Object:
    return {"type": kind, "status": status, "lastTransitionTime": now(), **more}


def running(name: str, *, ready: bool = True, **more: Any) -> Object:
    state = {"running": {"startedAt": now()}}
    return {**IMAGE, "name": name, "ready": ready, "started": True, "state": state, **more}


def waiting(name: str, reason: str, message: str = "", **more: Any) -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    return {**IMAGE, "name": name, "ready": False, "started": False, "state": state, **more}


def ended_at(at: str, status: Object) -> Object:
    """The status of a container that ended, at that time."""
    status["state"]["terminated"]["finishedAt"] = at
    return status


def terminated(name: str, exit_code: int, message: str = "", reason: str = "", **more: Any) -> Object:
    reason = reason or ("Completed" if exit_code == 0 else "Error")
    ended = {
        "exitCode": exit_code,
        "reason": reason,
        "message": message,
        "startedAt": now(),
        "finishedAt": now(),
    }
    return {**IMAGE, "name": name, "ready": False, "started": False, "state": {"terminated": ended}, **more}


class FakeKubelet:
    """Writes the statuses of pods in one namespace."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    def pod(self, name: str) -> Object:
        """The pod, once the operator has created it (and it is not on its way out)."""
        pod = self.kube.until(
            "pods", name, lambda seen: seen is not None and "deletionTimestamp" not in seen["metadata"]
        )
        assert pod is not None
        return pod

    def bind(self, name: str) -> None:
        """Assigns a pod to a node, once."""
        if self.pod(name)["spec"].get("nodeName"):
            return
        target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        response = self.kube.http.post(self.kube.path("pods", name) + "/binding", json=body)
        assert response.is_success, response.text

    def status(self, name: str, **status: Any) -> None:
        """Replaces the named parts of a pod's status."""
        self.kube.patch("pods", name, {"status": status}, "status")

    def start(self, name: str, address: str = "10.0.0.7") -> None:
        """Schedules a session's or a pool's pod and lets its agent become ready."""
        self.pod(name)
        self.bind(name)
        self.status(
            name,
            phase="Running",
            podIP=address,
            podIPs=[{"ip": address}],
            conditions=[pod_condition("PodScheduled", "True"), pod_condition("Ready", "True")],
            initContainerStatuses=[terminated("install-runner", 0), running("runner")],
            containerStatuses=[running("agent")],
        )

    def finish(self, name: str, report: Object | str) -> None:
        """Ends a session's agent with exit code 0 and that termination message."""
        message = report if isinstance(report, str) else json.dumps(report)
        self.status(
            name,
            phase="Succeeded",
            conditions=[pod_condition("PodScheduled", "True"), pod_condition("Ready", "False")],
            containerStatuses=[terminated("agent", 0, message)],
        )

    def run_task(self, name: str) -> None:
        """Schedules a task's pod and starts its command."""
        self.pod(name)
        self.bind(name)
        self.status(
            name,
            phase="Running",
            conditions=[pod_condition("PodScheduled", "True"), pod_condition("Ready", "True")],
            containerStatuses=[running("task")],
        )

    def end_task(self, name: str, exit_code: int, report: Object | str, reason: str = "") -> None:
        """Ends a task's container."""
        message = report if isinstance(report, str) else json.dumps(report)
        self.status(
            name,
            phase="Succeeded" if exit_code == 0 else "Failed",
            conditions=[pod_condition("PodScheduled", "True"), pod_condition("Ready", "False")],
            containerStatuses=[terminated("task", exit_code, message, reason)],
        )

    def evict(self, name: str) -> None:
        """Fails a pod as the kubelet does when its node runs out of memory."""
        self.status(name, phase="Failed", reason="Evicted", message="The node was low on resource: memory.")


def report(**more: Any) -> Object:
    """An agent's report of a solved session."""
    return {
        "outcome": "Solved",
        "reason": "CheckPassed",
        "message": "The check passes.",
        "checkExitCode": 0,
        "patchRef": f"reddb://blobs/sha256/{'a' * 64}",
        "turns": 3,
        "tokens": 0,
        "seconds": 1.5,
        **more,
    }


def result(**more: Any) -> Object:
    """The runner's report of a command that succeeded."""
    return {
        "exit_code": 0,
        "signal": None,
        "reason": "Completed",
        "stdout_tail": "out\n",
        "stderr_tail": "",
        "stdout_bytes": 4,
        "stderr_bytes": 0,
        "usage": {"wall_ms": 1500, "user_ms": 20, "system_ms": 10, "max_rss_bytes": 4096},
        "isolation": ["no_new_privs", "landlock:abi7"],
        **more,
    }
