"""The programs of a local cluster: how each is started, what it waits for and when it counts as ready."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.cluster.local.layout import (
    API_PORT,
    CONFIG,
    CONTAINERD_SOCKET,
    INSIDE,
    PKI,
    TOOLS_INSIDE,
    Layout,
)

ETCD_URL = "http://127.0.0.1:2379"


@dataclass(frozen=True)
class Component:
    """One supervised program.

    Attributes:
        after: the components that must be ready before it starts.
        ready_url: answers 200 when it is ready; without one, or a socket, started means ready.
        ready_socket: accepts connections when it is ready.
    """

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    ready_url: str | None = None
    ready_socket: Path | None = None


def components(layout: Layout) -> list[Component]:
    """In the order in which they can start."""
    return [
        Component(
            "containerd",
            ("containerd", "--config", f"{CONFIG}/containerd.toml"),
            ready_socket=CONTAINERD_SOCKET,
        ),
        Component("etcd", _etcd(), ready_url=f"{ETCD_URL}/health"),
        Component(
            "kube-apiserver",
            _apiserver(layout),
            after=("etcd",),
            ready_url=f"https://127.0.0.1:{API_PORT}/readyz",
        ),
        Component("kube-controller-manager", _controller_manager(), after=("kube-apiserver",)),
        Component(
            "kube-scheduler",
            _client("kube-scheduler", "--leader-elect=false", "--bind-address=127.0.0.1"),
            after=("kube-apiserver",),
        ),
        Component("kube-proxy", _proxy(layout), after=("kube-apiserver",)),
        Component("kubelet", _kubelet(layout), after=("containerd", "kube-apiserver")),
        Component(
            "provisioner", _client("provisioner", f"--root={INSIDE}/volumes"), after=("kube-apiserver",)
        ),
    ]


def _program(name: str) -> str:
    return str(TOOLS_INSIDE / name)


def _client(name: str, *flags: str) -> tuple[str, ...]:
    return (_program(name), f"--kubeconfig={CONFIG}/{name}.kubeconfig", *flags)


def _etcd() -> tuple[str, ...]:
    # Losing the last writes in a power cut is fine for a cluster that does not outlive one.
    return (_program("etcd"), "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={ETCD_URL}", f"--advertise-client-urls={ETCD_URL}",
            "--listen-peer-urls=http://127.0.0.1:2380")  # fmt: skip


def _apiserver(layout: Layout) -> tuple[str, ...]:
    return (
        _program("kube-apiserver"),
        f"--etcd-servers={ETCD_URL}",
        f"--service-cluster-ip-range={layout.services}",
        f"--advertise-address={layout.node_address}",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={PKI}/apiserver.crt",
        f"--tls-private-key-file={PKI}/apiserver.key",
        f"--client-ca-file={PKI}/ca.crt",
        f"--service-account-key-file={PKI}/sa.pub",
        f"--service-account-signing-key-file={PKI}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-certificate-authority={PKI}/ca.crt",
        f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
        # The node's name resolves nowhere.
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        "--profiling=false",
    )


def _controller_manager() -> tuple[str, ...]:
    return _client(
        "kube-controller-manager",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--use-service-account-credentials=true",
        # With the default of 20 its forty controllers take five seconds to start.
        "--kube-api-qps=300",
        "--kube-api-burst=600",
        f"--root-ca-file={PKI}/ca.crt",
        f"--service-account-private-key-file={PKI}/sa.key",
        "--flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins",
    )


def _proxy(layout: Layout) -> tuple[str, ...]:
    # Connection-tracking limits belong to the host's kernel, not to this cluster: leave them.
    return _client("kube-proxy", "--proxy-mode=nftables", f"--cluster-cidr={layout.pods}", "--conntrack-max-per-core=0",
                   "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
                   f"--hostname-override={layout.node}", f"--bind-address={layout.node_address}")  # fmt: skip


def _kubelet(layout: Layout) -> tuple[str, ...]:
    return _client("kubelet", f"--config={CONFIG}/kubelet.json", f"--hostname-override={layout.node}",
                   f"--node-ip={layout.node_address}")  # fmt: skip
