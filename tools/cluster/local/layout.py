"""The names and addresses of one local cluster, all derived from its name and its slot."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

# RFC 2544's range for benchmarks: no network that a developer's machine talks to uses it.
ADDRESSES = IPv4Network("198.18.0.0/15")
SLOTS = 2 ** (20 - ADDRESSES.prefixlen)

# Where the cluster's processes see its folder and the tool cache, wherever those lie on the host.
INSIDE = Path("/run/cluster")
TOOLS_INSIDE = Path("/run/tools")
CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")
PKI = INSIDE / "pki"
CONFIG = INSIDE / "config"

UPLINK = "uplink"
MARK = "dspy-agent"
PAUSE_IMAGE = "localhost/dspy-agent/pause:3"
COREDNS_IMAGE = "localhost/dspy-agent/coredns:v1.14.0"
API_PORT = 6443


@dataclass(frozen=True)
class Layout:
    """A cluster's addresses. The slot (0 to SLOTS-1) is whichever was free when it started.

    Each slot owns a /20: a /30 that links it with the host, a /22 for services, a /21 for pods.

    Attributes:
        start: a random word, new with every start. What a cluster leaves on the host bears it, so that removing a dead
            cluster cannot hit another that has its slot, or its name, by then.
    """

    name: str
    slot: int
    start: str

    def __post_init__(self) -> None:
        if not 0 <= self.slot < SLOTS:
            raise ValueError(f"slot {self.slot} is outside 0..{SLOTS - 1}")

    @property
    def network(self) -> IPv4Network:
        return IPv4Network((int(ADDRESSES.network_address) + (self.slot << 12), 20))

    @property
    def host_address(self) -> IPv4Address:
        return self.network[1]

    @property
    def node_address(self) -> IPv4Address:
        return self.network[2]

    @property
    def services(self) -> IPv4Network:
        return IPv4Network((int(self.network.network_address) + (4 << 8), 22))

    @property
    def pods(self) -> IPv4Network:
        return IPv4Network((int(self.network.network_address) + (8 << 8), 21))

    @property
    def api_service_address(self) -> IPv4Address:
        return self.services[1]

    @property
    def dns_address(self) -> IPv4Address:
        return self.services[10]

    @property
    def node(self) -> str:
        return f"dspy-{self.name}"

    @property
    def link(self) -> str:
        """The host's end of the link. Making it claims the slot: the kernel lets only one process win."""
        return f"dspy{self.slot}"

    @property
    def mark(self) -> str:
        """What the link and the packet-filter rules carry as a comment."""
        return f"{MARK} {self.name} {self.start}"

    @property
    def cgroup(self) -> str:
        """The cgroup below which the kubelet puts every pod, in each hierarchy."""
        return f"{MARK}-{self.slot}-{self.start}"

    @property
    def slot_cgroups(self) -> str:
        """A pattern of the cgroups of all that ever had this slot."""
        return f"{MARK}-{self.slot}-*"

    @property
    def api_url(self) -> str:
        return f"https://{self.node_address}:{API_PORT}"
