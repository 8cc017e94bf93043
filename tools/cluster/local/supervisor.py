"""The first process of a cluster's namespaces: starts its programs in order, restarts what dies, reaps orphans.

Started by `LocalProvider.up` as `unshare ... python -m tools.cluster.local.supervisor STATE TOOLS`. It waits
for one line of JSON on stdin, the layout, which comes once the host has put the network link in place; end of
file instead means that the host gave up, and the supervisor ends. Progress goes to stdout, which is a log file.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tools.cluster.local.components import Component, components
from tools.cluster.local.inside import furnish
from tools.cluster.local.layout import INSIDE, PKI, Layout

STARTING_POLL_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 5.0
# A program that ran this long had started well: its next restart is immediate again.
HEALTHY_SECONDS = 30.0


@dataclass
class Supervised:
    """A component and what is known of its process."""

    component: Component
    pid: int | None = None
    ready: bool = False
    started: float = 0.0
    failures: int = 0

    def restart_due(self, now: float) -> bool:
        backoff = min(0.1 * 2**self.failures, MAX_BACKOFF_SECONDS) if self.failures else 0.0
        return now >= self.started + backoff


class Supervisor:
    """Runs components until it is killed. Single-threaded: one loop that sleeps until a signal or a poll is due."""

    def __init__(self, wanted: list[Component]) -> None:
        self._all = {component.name: Supervised(component) for component in wanted}

    def run(self) -> NoReturn:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        while True:
            self._reap()
            self._start_due()
            self._probe()
            settled = all(each.pid and each.ready for each in self._all.values())
            signal.sigtimedwait({signal.SIGCHLD}, 3600 if settled else STARTING_POLL_SECONDS)

    def _reap(self) -> None:
        """Collect dead children: our own, which will be restarted, and orphans that the kernel handed to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for each in self._all.values():
                if each.pid == pid:
                    _note_death(each, os.waitstatus_to_exitcode(status))

    def _start_due(self) -> None:
        now = time.monotonic()
        for each in self._all.values():
            dependencies_ready = all(self._all[name].ready for name in each.component.after)
            if each.pid is None and dependencies_ready and each.restart_due(now):
                each.pid = _spawn(each.component)
                each.started = now
                say(f"{each.component.name} started")

    def _probe(self) -> None:
        for each in self._all.values():
            if each.pid and not each.ready and is_ready(each.component):
                each.ready = True
                say(f"{each.component.name} ready")


def _note_death(each: Supervised, exit_code: int) -> None:
    ran_well = time.monotonic() - each.started > HEALTHY_SECONDS
    each.pid, each.ready = None, False
    each.failures = 0 if ran_well else each.failures + 1
    say(
        f"{each.component.name} ended with {exit_code}; its log is {each.component.name}.log; starting it again"
    )


def _spawn(component: Component) -> int:
    """Start a component with its output appended to its own log file."""
    log = str(INSIDE / "logs" / f"{component.name}.log")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawnp(
        component.argv[0], component.argv, os.environ, file_actions=actions, setsid=True, setsigmask=()
    )


def is_ready(component: Component) -> bool:
    if component.ready_socket:
        return _accepts(component.ready_socket)
    return component.ready_url is None or _answers(component.ready_url)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def _answers(url: str) -> bool:
    trust = ssl.create_default_context(cafile=str(PKI / "ca.crt")) if url.startswith("https") else None
    try:
        with urllib.request.urlopen(url, timeout=1, context=trust) as reply:  # noqa: S310 - our own addresses
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    state, tools = (Path(argument) for argument in arguments)
    line = sys.stdin.readline()
    if not line:
        sys.exit("the host closed the pipe before the network was there")
    layout = Layout(**json.loads(line))
    furnish(state, tools, layout)
    os.chdir("/")  # holds no folder of the host's
    Supervisor(components(layout)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
