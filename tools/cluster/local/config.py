"""The files that the cluster's programs read, as pure functions of the layout. YAML is written as JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tools.cluster.local.layout import API_PORT, CONFIG, CONTAINERD_SOCKET, INSIDE, PAUSE_IMAGE, PKI, Layout

COMPONENT_USERS = ("kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "provisioner")


def write_all(directory: Path, pki: Path, layout: Layout) -> None:
    """Write every configuration file of the cluster into `directory`, as the host sees it."""
    (directory / "cni").mkdir(parents=True)
    (directory / "containerd.toml").write_text(containerd())
    (directory / "cni" / "10-pods.conflist").write_text(dump(cni(layout)))
    (directory / "kubelet.json").write_text(dump(kubelet(layout)))
    for user in COMPONENT_USERS:
        write_private(
            directory / f"{user}.kubeconfig", dump(kubeconfig(pki, user, f"https://127.0.0.1:{API_PORT}"))
        )


def write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def containerd() -> str:
    """containerd 1.6's configuration.

    restrict_oom_score_adj: without CAP_SYS_RESOURCE the score -998 of a sandbox cannot be set, and runc fails.
    """
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs"]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{CONFIG / "cni"}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def cni(layout: Layout) -> dict[str, Any]:
    """Pod networking: a point-to-point link per pod.

    With a bridge instead, a pod would reach no Service whose endpoint is on the same bridge unless br_netfilter is on.
    """
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": str(layout.pods)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet(layout: Layout) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(PKI / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(PKI / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(PKI / "kubelet-serving.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "clusterDNS": [str(layout.dns_address)],
        "clusterDomain": "cluster.local",
        "resolvConf": str(INSIDE / "resolv.conf"),
        "maxPods": 250,
        # Images come from files, not from a registry: one collected could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # A fork bomb in one pod must not take the machine with it.
        "podPidsLimit": 1024,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "serializeImagePulls": False,
        "shutdownGracePeriod": "0s",
    }


def kubeconfig(pki: Path, user: str, server: str) -> dict[str, Any]:
    """A self-contained kubeconfig: it names no file, so it works on the host and inside alike."""

    def embedded(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    credentials = {
        "client-certificate-data": embedded(f"{user}.crt"),
        "client-key-data": embedded(f"{user}.key"),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority-data": embedded("ca.crt")}}
        ],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
        "current-context": "local",
    }


def dump(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"
