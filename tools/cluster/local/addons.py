"""What a usable cluster has beyond Kubernetes itself: DNS and a default StorageClass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tools.cluster.kubectl import kubectl, wait
from tools.cluster.local.layout import COREDNS_IMAGE, Layout
from tools.cluster.provider import Cluster, Options
from tools.common import paths
from tools.common.process import ToolError
from tools.common.progress import Progress

MANIFEST = Path(__file__).parent.parent / "manifests" / "local.yaml"
NODE_IMAGES = ("pause", "coredns")
READY_SECONDS = 60


def install(
    cluster: Cluster, layout: Layout, options: Options, load: Callable[[Path], bool], progress: Progress
) -> None:
    """Load the node's own images, apply the manifests, and wait until the node and DNS are ready."""
    for name in NODE_IMAGES:
        load(paths.cache() / "images" / f"{name}.tar")
    progress.line("node images loaded")
    kubectl(cluster.kubeconfig, "apply", "--server-side", "-f", "-", stdin=manifest(layout, options))
    for what in ("create", "condition=Ready"):
        wait(cluster.kubeconfig, f"--for={what}", f"node/{layout.node}", seconds=READY_SECONDS)
    progress.line(f"node {layout.node} ready")
    available = ["--for=condition=Available", "--namespace=kube-system", "deployment/coredns"]
    wait(cluster.kubeconfig, *available, seconds=READY_SECONDS)
    progress.line("DNS ready")


def manifest(layout: Layout, options: Options) -> str:
    """The add-ons' manifest with this cluster's addresses in it."""
    # Without NAT there is no server to ask: names outside the cluster fail at once instead of timing out.
    upstream = "forward . /etc/resolv.conf" if options.nat else "template ANY ANY . { rcode NXDOMAIN }"
    text = MANIFEST.read_text()
    return (
        text.replace("{{dns_address}}", str(layout.dns_address))
        .replace("{{upstream}}", upstream)
        .replace("{{coredns_image}}", COREDNS_IMAGE)
    )


def resolv_conf(options: Options) -> str:
    """The node's resolver, which pods with `dnsPolicy: Default` and CoreDNS use."""
    if not options.nat:
        return "# no network outside the cluster\n"
    return Path("/etc/resolv.conf").read_text()


def healthy(cluster: Cluster) -> bool:
    """Whether the apiserver answers and every node is ready."""
    try:
        listed = json.loads(
            kubectl(cluster.kubeconfig, "get", "nodes", "--output=json", "--request-timeout=5s")
        )
    except ToolError:
        return False
    ready = [
        condition["status"] == "True"
        for node in listed["items"]
        for condition in node["status"].get("conditions", [])
        if condition["type"] == "Ready"
    ]
    return bool(ready) and all(ready)
