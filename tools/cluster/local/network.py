"""The host's side of a cluster's network: one veth link with routes to pods and services, and optional NAT."""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
from collections.abc import Callable
from pathlib import Path

from tools.cluster.local.layout import MARK, SLOTS, UPLINK, Layout
from tools.common.process import CommandFailedError, ToolError, run

NAT_CHAINS = (("nat", "POSTROUTING"), ("filter", "FORWARD"))


def connect(name: str, pid: int) -> Layout:
    """Link the host with the network namespace of process `pid`, claiming the first free slot.

    The link goes when the namespace goes, and the routes with it. Packet-filter rules of a killed cluster that had the
    slot would stay, and apply to this one: they are removed.

    Raises:
        ToolError: every slot is taken.
    """
    start = secrets.token_hex(4)
    for slot in range(SLOTS):
        layout = Layout(name, slot, start)
        if _claim(layout, pid):
            _address(layout)
            _remove_leftover_rules(layout)
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
    run(["ip", "link", "set", layout.link, "alias", layout.mark])
    run(["ip", "address", "add", f"{layout.host_address}/30", "dev", layout.link])
    run(["ip", "link", "set", layout.link, "up"])
    for network in (layout.services, layout.pods):
        run(["ip", "route", "add", str(network), "via", str(layout.node_address), "dev", layout.link])


def disconnect(layout: Layout) -> None:
    """Remove the link if it is still this cluster's; the kernel drops a dead namespace's links a little later."""
    index = _own_link(layout)
    if index is not None:
        # By its index, which no other link ever gets: the kernel may free the name now, and another cluster take it.
        with contextlib.suppress(CommandFailedError):  # gone in between
            run(["ip", "link", "delete", f"if{index}"])


def _own_link(layout: Layout) -> int | None:
    """The link's index; None when there is no such link, or it is another cluster's."""
    try:
        shown = json.loads(run(["ip", "-json", "link", "show", "dev", layout.link]))
    except CommandFailedError:
        return None
    return next((link["ifindex"] for link in shown if link.get("ifalias") == layout.mark), None)


def add_nat(layout: Layout) -> None:
    """Let pods reach what the host reaches. Turns IP forwarding on, which stays on: others may rely on it by then."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for table, *rule in _nat_rules(layout):
        run(["iptables", "-w", "-t", table, "-I", *rule])


def remove_nat(layout: Layout) -> None:
    _remove_rules(lambda words: layout.mark in words)


def _nat_rules(layout: Layout) -> list[list[str]]:
    """Table, chain and specification of each rule, marked as this cluster's.

    iptables rather than a table of our own: Docker's DROP policy on FORWARD is only overruled in its own chain.
    """
    mark = ["-m", "comment", "--comment", layout.mark]
    source, target = ["-s", str(layout.network)], ["-d", str(layout.network)]
    return [
        ["nat", "POSTROUTING", *source, "!", *target, *mark, "-j", "MASQUERADE"],
        ["filter", "FORWARD", *source, *mark, "-j", "ACCEPT"],
        ["filter", "FORWARD", *target, *mark, "-j", "ACCEPT"],
    ]


def _remove_leftover_rules(layout: Layout) -> None:
    """Those of killed clusters that had this slot: it is ours by now, and so is its network."""

    def leftover(words: list[str]) -> bool:
        return str(layout.network) in words and any(word.startswith(f"{MARK} ") for word in words)

    _remove_rules(leftover)


def _remove_rules(ours: Callable[[list[str]], bool]) -> None:
    """Remove those rules of the chains that we use which, as a list of words, are `ours`."""
    for table, chain in NAT_CHAINS:
        for rule in _rules(table, chain):
            if ours(rule):
                with contextlib.suppress(CommandFailedError):  # gone in between
                    run(["iptables", "-w", "-t", table, "-D", *rule])


def _rules(table: str, chain: str) -> list[list[str]]:
    """Chain and specification of each rule."""
    try:
        listed = run(["iptables", "-w", "-t", table, "-S", chain])
    except CommandFailedError:  # a kernel without packet filter, on which no rule of ours can be
        return []
    return [words[1:] for line in listed.splitlines() if (words := shlex.split(line))[0] == "-A"]
