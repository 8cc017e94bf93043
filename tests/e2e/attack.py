"""Runs inside a session's sandbox and tries what must fail there. Exits 0 only if something was open.

    python3 attack.py                 where commands have no network
    python3 attack.py SERVICES        where they have: a JSON object of what to ask without a token, name to URL

Its last line is JSON: `open`, what should have been closed, and `answers`, what each service said.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

SECONDS = 5
REFUSALS = {"401", "403", "NOAUTH"}

opened: list[str] = []
answers: dict[str, str] = {}


def attempt(name: str, action: Callable[[], object]) -> None:
    try:
        action()
    except OSError:
        return
    opened.append(name)


def ask(url: str) -> str:
    """A service's answer in a word: the HTTP status, or the first word that RedDB says to a Redis client."""
    if url.startswith("redis://"):
        return ask_redis(urlsplit(url).hostname or "", urlsplit(url).port or 0)
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=SECONDS, context=trust) as reply:  # noqa: S310 - the test's own
            return str(reply.status)
    except urllib.error.HTTPError as error:
        return str(error.code)


def ask_redis(host: str, port: int) -> str:
    with socket.create_connection((host, port), timeout=SECONDS) as connection:
        connection.sendall(b"*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n")
        return connection.recv(100).decode().lstrip("-").split()[0]


def try_files() -> None:
    attempt("the runner's token", lambda: Path("/dspy/token/token").read_bytes())
    attempt(
        "a service account",
        lambda: Path("/var/run/secrets/kubernetes.io/serviceaccount/token").read_bytes(),
    )
    attempt("the runner's own file", lambda: Path("/dspy/bin/env-runner").write_bytes(b""))
    attempt("the forks of others", lambda: os.listdir("/forks"))
    opened.extend(f"{name} in the environment" for name in os.environ if "TOKEN" in name)


def try_processes() -> None:
    own = {os.getpid(), os.getppid()}
    for process in (p for p in Path("/proc").iterdir() if p.name.isdigit() and int(p.name) not in own):
        attempt(f"the memory of process {process.name}", (process / "mem").open)
        attempt(f"the environment of process {process.name}", (process / "environ").read_bytes)


def try_sockets() -> None:
    attempt("a socket to the network", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    attempt("a datagram socket", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))


def try_services(services: dict[str, str]) -> None:
    own_address = socket.gethostbyname(socket.gethostname())
    for name, url in services.items():
        try:
            answers[name] = ask(url.replace("POD", own_address))
        except OSError as error:  # urllib's hides the one that tells
            answers[name] = type(getattr(error, "reason", error)).__name__
        else:
            if answers[name] not in REFUSALS:
                opened.append(name)


def main(arguments: list[str]) -> int:
    try_files()
    try_processes()
    if arguments:
        try_services(json.loads(arguments[0]))
    else:
        try_sockets()
    print(json.dumps({"open": opened, "answers": answers}))
    return 0 if opened else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
