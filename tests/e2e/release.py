"""Violence against the installed release, and its recovery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.kube import Kube


def workload(release: Kube, kind: str, component: str) -> str:
    """`kind/name` of the one workload of a component."""
    (found,) = release.list(kind, f"app.kubernetes.io/component={component}")
    return f"{kind}/{found['metadata']['name']}"


def kill(release: Kube, component: str) -> None:
    """Kill every pod of a component, and be sure that they are gone."""
    for pod in release.list("pods", f"app.kubernetes.io/component={component}"):
        release.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=true")


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
