"""Runs inside a session's sandbox and tries what must fail there. Exits 0 only if something was open."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

opened: list[str] = []


def attempt(name: str, action: Callable[[], object]) -> None:
    try:
        action()
    except OSError:
        return
    opened.append(name)


attempt("a socket to the network", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
attempt("a datagram socket", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
attempt("the runner's token", lambda: Path("/dspy/token/token").read_bytes())
attempt("a service account", lambda: Path("/var/run/secrets/kubernetes.io/serviceaccount/token").read_bytes())
attempt("the runner's own file", lambda: Path("/dspy/bin/env-runner").write_bytes(b""))
attempt("the forks of others", lambda: os.listdir("/forks"))
for process in (
    p for p in Path("/proc").iterdir() if p.name.isdigit() and int(p.name) not in {os.getpid(), os.getppid()}
):
    attempt(f"the memory of process {process.name}", (process / "mem").open)
    attempt(f"the environment of process {process.name}", (process / "environ").read_bytes)
opened += [f"{name} in the environment" for name in os.environ if "TOKEN" in name]

print("open:", opened)
sys.exit(0 if opened else 1)
