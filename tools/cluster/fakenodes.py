"""Fake nodes for work at scale: KWOK runs as a pod and plays the kubelets of any number of nodes."""

from __future__ import annotations

import json
from pathlib import Path

from tools.cluster import archive
from tools.cluster.kubectl import kubectl, wait
from tools.cluster.provider import Cluster, Provider
from tools.common import paths
from tools.common.process import ToolError
from tools.common.progress import Progress
from tools.images import store

MANIFEST = Path(__file__).parent / "manifests" / "kwok.yaml"
KWOK_IMAGE = "localhost/dspy-agent/kwok:v0.8.0"
LABEL = "dspyagent.io/fake-node"
# An address of its own for each pod, as KWOK makes them: nothing answers there.
_OWN_IP = (
    '{{ PodIPWith .spec.nodeName (or .spec.hostNetwork false) (or .metadata.uid "") (or .metadata.name "") '
    '(or .metadata.namespace "") | Quote }}'
)
READY_SECONDS = 120


def scale(
    cluster: Cluster, provider: Provider, count: int, progress: Progress, pod_ip: str | None = None
) -> None:
    """Set the number of fake nodes; 0 removes KWOK too.

    `pod_ip`: the address that all pods on them get, for a stand-in that answers in their place.
    The nodes carry a taint of the label's name, so that nothing lands on them by accident.
    """
    if count < 0:
        raise ToolError("The number of fake nodes cannot be negative.")
    manifest = MANIFEST.read_text().replace("{{kwok_image}}", KWOK_IMAGE)
    manifest = manifest.replace("{{pod_ip}}", json.dumps(pod_ip) if pod_ip else _OWN_IP)
    existing = _existing(cluster)
    if count > 0:
        provider.load(cluster, _image())
        kubectl(cluster.kubeconfig, "apply", "--server-side", "-f", "-", stdin=manifest)
        _add(cluster, range(len(existing), count))
    surplus = existing[count:]
    for start in range(0, len(surplus), 100):
        kubectl(cluster.kubeconfig, "delete", "node", "--wait=false", *surplus[start : start + 100])
    if count == 0:
        kubectl(cluster.kubeconfig, "delete", "--ignore-not-found", "-f", "-", stdin=manifest)
        progress.line("no fake nodes")
        return
    available = ["--for=condition=Available", "--namespace=kube-system", "deployment/kwok"]
    wait(cluster.kubeconfig, *available, seconds=READY_SECONDS)
    wait(cluster.kubeconfig, "--for=condition=Ready", "node", f"--selector={LABEL}", seconds=READY_SECONDS)
    progress.line(f"{count} fake nodes are ready")


def _existing(cluster: Cluster) -> list[str]:
    listed = kubectl(cluster.kubeconfig, "get", "nodes", f"--selector={LABEL}", "--output=name")
    return sorted(name.removeprefix("node/") for name in listed.split())


def _add(cluster: Cluster, numbers: range) -> None:
    if len(numbers) == 0:
        return
    nodes = {"apiVersion": "v1", "kind": "List", "items": [node(number) for number in numbers]}
    kubectl(
        cluster.kubeconfig, "apply", "--server-side", "-f", "-", stdin=json.dumps(nodes), timeout_seconds=600
    )


def node(number: int) -> dict[str, object]:
    name = f"fake-{number:05d}"
    resources = {"cpu": "32", "memory": "256Gi", "pods": "250", "ephemeral-storage": "1Ti"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                LABEL: "true",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": LABEL, "value": "true", "effect": "NoSchedule"}]},
        "status": {"allocatable": resources, "capacity": resources},
    }


def _image() -> Path:
    """KWOK's image, made of the binary in the tool cache when first asked for."""
    binary = paths.tool("kwok")
    if not binary.exists():
        raise ToolError("KWOK is not built; `python3 -m tools.setup kubernetes` builds it.")
    path = store.latest("kwok")
    if not path.exists() or path.stat().st_mtime < binary.stat().st_mtime:
        archive.write_from_binary(path, KWOK_IMAGE, binary, ["/kwok"])
    return path
