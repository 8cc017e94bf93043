"""Furnishing the cluster's namespaces: run once by the supervisor, before anything else runs in them."""

from __future__ import annotations

from pathlib import Path

from tools.cluster.local.layout import INSIDE, TOOLS_INSIDE, UPLINK, Layout
from tools.common.process import run

# Kernel settings without a namespace of their own, which the kubelet sets for the whole machine.
MACHINE_WIDE = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
                "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")  # fmt: skip


def furnish(state: Path, tools: Path, layout: Layout) -> None:
    """Give the cluster its own /run, /var/lib and /var/log, shield the machine's settings, set the network up.

    Args:
        state: the cluster's folder on the host; seen inside as `INSIDE`.
        tools: the tool cache's bin folder; seen inside, read-only, as `TOOLS_INSIDE`.
    """
    _mount_directories(state, tools)
    _shield_machine_settings()
    _configure_network(layout)
    run(["hostname", layout.node])


def _mount_directories(state: Path, tools: Path) -> None:
    """/run becomes a tmpfs that is built aside and moved into place, since `state` itself may lie below /run."""
    run_new = _made(state / "run")
    _mount("-t", "tmpfs", "-o", "mode=755", "cluster-run", run_new)
    _mount("--bind", state, _made(run_new / INSIDE.name))
    _mount("--bind", tools, _made(run_new / TOOLS_INSIDE.name))
    _mount("-o", "remount,bind,ro", run_new / TOOLS_INSIDE.name)
    _mount("--move", run_new, "/run")
    for folder in ("lib", "log"):
        _mount("--bind", _made(INSIDE / f"var-{folder}"), f"/var/{folder}")
    # Volumes that a pod mounts with bidirectional propagation reach the kubelet, and nobody outside.
    _mount("--make-rshared", "/")


def _mount(*arguments: str | Path) -> None:
    """--no-mtab: the table of mounts that mount keeps beside the kernel's would be the host's, and in /run."""
    run(["mount", "--no-mtab", *arguments])


def _made(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def _shield_machine_settings() -> None:
    """Put a copy in front of each setting: the kubelet writes the copy, the machine keeps its own."""
    for number, setting in enumerate(MACHINE_WIDE):
        real = Path("/proc/sys") / setting
        copy = Path(f"/run/machine-setting-{number}")
        copy.write_text(real.read_text())
        _mount("--bind", copy, real)


def _configure_network(layout: Layout) -> None:
    run(["ip", "link", "set", "lo", "up"])
    run(["ip", "address", "add", f"{layout.node_address}/30", "dev", UPLINK])
    run(["ip", "link", "set", UPLINK, "up"])
    run(["ip", "route", "add", "default", "via", str(layout.host_address)])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
