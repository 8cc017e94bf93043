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
BENCHMARKS = ("redis-server", "redis-tools")


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
    """Those of the packages that dpkg does not know as installed; all of them where there is no dpkg."""
    if shutil.which("dpkg-query") is None:
        return list(names)
    # dpkg-query fails when it has never heard of one of the names, and still prints the others.
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n", *names],
        capture_output=True, text=True, timeout=30, check=False,
    ).stdout  # fmt: skip
    installed = {line.split()[1] for line in listed.splitlines() if line.startswith("ii")}
    return [name for name in names if name not in installed]
