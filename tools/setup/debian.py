"""Debian packages, where we are root on Debian; elsewhere the list is told."""

from __future__ import annotations

import os
import shutil
import subprocess

from tools.common.process import ToolError, run
from tools.setup.thing import Thing

CLUSTER = ("containerd", "runc", "containernetworking-plugins", "conntrack", "iproute2", "iptables",
           "nftables", "openssl", "util-linux")  # fmt: skip
IMAGES = ("buildah", "ca-certificates", "debootstrap")
BUILDS = ("gcc", "git", "libc6-dev", "musl-tools", "openssh-client", "python3-venv")
# What RedDB's tests compare it with; the Slurm that the orchestrator's tests start, with its accounts of jobs;
# promtool, and the Lua of Argo CD, for what the charts come with.
CHECKS = ("redis-server", "slurm-wlm", "slurm-wlm-jwt-plugin", "slurmrestd", "slurmdbd", "mariadb-server-core",
          "mariadb-client-core", "prometheus", "lua5.1")  # fmt: skip
BENCHMARKS = ("redis-server", "redis-tools")

# By which program a package is recognised that did not come from dpkg. Unless it is named here, by its own name;
# None is a package without a program, of which only dpkg knows.
PROGRAMS = {
    "ca-certificates": None,
    "containernetworking-plugins": None,
    "iproute2": "ip",
    "libc6-dev": None,
    "musl-tools": "musl-gcc",
    "nftables": "nft",
    "openssh-client": "ssh",
    "prometheus": "promtool",
    "python3-venv": None,
    "mariadb-client-core": "my_print_defaults",
    "mariadb-server-core": "mariadbd",
    "redis-tools": "redis-cli",
    "slurm-wlm": "slurmctld",
    "slurm-wlm-jwt-plugin": None,
    "util-linux": "unshare",
}


def packages(group: str, names: tuple[str, ...]) -> Thing:
    def install() -> None:
        lacking = missing(names)
        command = f"apt-get install {' '.join(lacking)}"
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise ToolError(f"These programs are missing: {', '.join(lacking)}. On Debian: `sudo {command}`.")
        # RUNLEVEL=1: packages with a service must not start it.
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        run(["apt-get", "update", "--quiet"], env=environment, timeout_seconds=300)
        run(["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *lacking], env=environment,
            timeout_seconds=1800)  # fmt: skip

    return Thing(f"packages for {group}", group, lambda: not missing(names), install)


def missing(names: tuple[str, ...]) -> list[str]:
    """Those of the packages that neither dpkg knows as installed nor their program on the PATH shows to be there."""
    installed = _installed(names)
    return [name for name in names if name not in installed and not _on_path(name)]


def _on_path(name: str) -> bool:
    program = PROGRAMS.get(name, name)
    if program is None:  # without dpkg there is no telling: what needs it will say so
        return shutil.which("dpkg-query") is None
    return shutil.which(program) is not None


def _installed(names: tuple[str, ...]) -> set[str]:
    """Those that dpkg knows as installed; none where there is no dpkg."""
    if shutil.which("dpkg-query") is None:
        return set()
    # dpkg-query fails when it has never heard of one of the names, and still prints the others.
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n", *names],
        capture_output=True, text=True, timeout=30, check=False,
    ).stdout  # fmt: skip
    return {line.split()[1] for line in listed.splitlines() if line.startswith("ii")}
