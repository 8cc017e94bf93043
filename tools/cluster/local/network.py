"""The host's side of a cluster's network: one veth link with routes to pods and services, and optional NAT."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tools.cluster.local.layout import SLOTS, UPLINK, Layout
from tools.common.process import CommandFailedError, ToolError, run


def connect(name: str, pid: int) -> Layout:
    """Link the host with the network namespace of process `pid`, claiming the first free slot.

    The link goes when the namespace goes, and the routes with it.

    Raises:
        ToolError: every slot is taken.
    """
    for slot in range(SLOTS):
        layout = Layout(name, slot)
        if _claim(layout, pid):
            _address(layout)
            return layout
    raise ToolError(
        f"All {SLOTS} network slots are taken; remove a cluster with `python3 -m tools.cluster down --name NAME`."
    )


def _claim(layout: Layout, pid: int) -> bool:
    if exists(layout.link):
        return False
    try:
        run(["ip", "link", "add", layout.link, "type", "veth", "peer", "name", UPLINK, "netns", str(pid)])
    except CommandFailedError:
        if exists(layout.link):  # somebody else was quicker
            return False
        raise
    return True


def exists(link: str) -> bool:
    return (Path("/sys/class/net") / link).exists()


def _address(layout: Layout) -> None:
    run(["ip", "address", "add", f"{layout.host_address}/30", "dev", layout.link])
    run(["ip", "link", "set", layout.link, "up"])
    for network in (layout.services, layout.pods):
        run(["ip", "route", "add", str(network), "via", str(layout.node_address), "dev", layout.link])


def disconnect(layout: Layout) -> None:
    """Remove the link if the kernel has not done so yet; it drops a dead namespace's links a little later."""
    if exists(layout.link):
        with contextlib.suppress(CommandFailedError):  # gone in between
            run(["ip", "link", "delete", layout.link])


def _nat_rules(layout: Layout) -> list[list[str]]:
    """Rule specifications without the verb, each marked with the cluster's name.

    iptables rather than a table of our own: Docker's DROP policy on FORWARD is only overruled in its own chain.
    """
    mark = ["-m", "comment", "--comment", f"dspy-agent {layout.name}"]
    source, target = ["-s", str(layout.network)], ["-d", str(layout.network)]
    return [
        ["-t", "nat", "POSTROUTING", *source, "!", *target, *mark, "-j", "MASQUERADE"],
        ["-t", "filter", "FORWARD", *source, *mark, "-j", "ACCEPT"],
        ["-t", "filter", "FORWARD", *target, *mark, "-j", "ACCEPT"],
    ]


def _iptables(verb: str, rule: list[str]) -> None:
    table, chain, match = rule[:2], rule[2], rule[3:]
    run(["iptables", "-w", *table, verb, chain, *match])


def add_nat(layout: Layout) -> None:
    """Let pods reach what the host reaches. Turns IP forwarding on, which stays on: others may rely on it by then."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for rule in _nat_rules(layout):
        _iptables("-I", rule)


def remove_nat(layout: Layout) -> None:
    for rule in _nat_rules(layout):
        with contextlib.suppress(
            CommandFailedError
        ):  # -C fails where the rule is not there: nothing to remove
            _iptables("-C", rule)
            _iptables("-D", rule)
