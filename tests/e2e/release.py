"""Violence against the installed release, and its recovery."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.kube import Kube, Manifest


def workload(release: Kube, kind: str, component: str) -> str:
    """`kind/name` of the one workload of a component."""
    (found,) = release.list(kind, f"app.kubernetes.io/component={component}")
    return f"{kind}/{found['metadata']['name']}"


def kill(release: Kube, component: str) -> None:
    """Kill every pod of a component, and be sure that they are gone."""
    for pod in release.list("pods", f"app.kubernetes.io/component={component}"):
        release.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=true")


def crash(release: Kube, component: str) -> None:
    """Let one pod of a component crash; see crash_pod."""
    crash_pod(release, release.list("pods", f"app.kubernetes.io/component={component}")[0])


def crash_pod(release: Kube, pod: Manifest) -> None:
    """Kill the process of a pod, as a crash does it: with no signal before, and its files stay.

    The kubelet starts it again: at once after its first crash, and later each time that it happens to the same pod.
    Where it is not to be found on this machine its pod is deleted, which is the nearest thing.
    """
    process = first_process(pod)
    if process is None:
        release.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
        return
    os.kill(process, signal.SIGKILL)


def first_process(pod: Manifest) -> int | None:
    """Find the process that a pod's only container began with, as this machine counts."""
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if container not in (folder / "cgroup").read_text():
                continue
            numbers = re.search(r"^NSpid:.*\t1$", (folder / "status").read_text(), re.MULTILINE)
        except OSError:  # it has ended meanwhile
            continue
        if numbers:
            return int(folder.name)
    return None


def recovered(release: Kube, component: str, kind: str) -> None:
    """Wait until all of a component's pods are ready."""
    release.run("rollout", "status", workload(release, kind, component), "--timeout=120s", timeout=130)


@contextmanager
def without_operator(release: Kube) -> Iterator[None]:
    """No operator runs inside the block; afterwards there are as many as before."""
    name = workload(release, "deployment", "operator")
    kind, _, bare = name.partition("/")
    replicas = release.get(kind, bare)["spec"]["replicas"]
    release.run("scale", name, "--replicas=0")
    release.run("wait", "pod", "-l", "app.kubernetes.io/component=operator", "--for=delete", "--timeout=60s",
                timeout=70)  # fmt: skip
    try:
        yield
    finally:
        release.run("scale", name, f"--replicas={replicas}")
        recovered(release, "operator", "deployment")
