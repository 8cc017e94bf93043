#!/usr/bin/env python3
"""Times the runner's sandboxed `/bin/true` beside SWE-ReX's unsandboxed one, in one run.

Usage: bench.py [--runner PATH] [--rounds N] [--per-round N]. Prints a Markdown report.
Both servers are asked over one kept-alive connection each, in turns (A B A B), by the same client.
SWE-ReX comes from PyPI into a virtual environment under $DSPY_CACHE (default ~/.cache/dspy-agent).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SWE_REX = "swe-rex==1.4.0"
ROOT = Path(__file__).resolve().parents[2]
START_DEADLINE_S = 30.0
WARM_UP = 20


class Client:
    """One kept-alive connection that posts JSON and returns milliseconds and the reply."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.headers = {"content-type": "application/json", **headers}

    def post(self, route: str, body: dict[str, object]) -> tuple[float, dict[str, object]]:
        """Raise RuntimeError for any reply but 200: an error must not count as a fast answer."""
        payload = json.dumps(body)
        started = time.perf_counter()
        self.connection.request("POST", route, payload, self.headers)
        response = self.connection.getresponse()
        text = response.read()
        elapsed_ms = (time.perf_counter() - started) * 1000
        if response.status != 200:
            raise RuntimeError(f"{route}: {response.status}: {text[:200]!r}")
        return elapsed_ms, json.loads(text)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once the port accepts; raise when the server ends or takes too long."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.0005)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(argv: list[str], port: int, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server with its output in a file, stop it at the end."""
    with (cwd / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=cwd, stdout=log, stderr=log)
        try:
            wait_for_port(port, process)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def swe_rex() -> Path:
    """Install SWE-ReX once; return its server."""
    cache = Path(os.environ.get("DSPY_CACHE", Path.home() / ".cache/dspy-agent")) / "bench" / SWE_REX
    server = cache / "bin/swerex-remote"
    if not server.exists():
        subprocess.run(["uv", "venv", "--quiet", "--clear", str(cache)], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", str(cache / "bin/python"), SWE_REX]
        subprocess.run(install, check=True)
    return server


def tree_rss_mib(pid: int) -> float:
    """Proportional memory of a process and its children, in MiB."""
    total = 0
    for rollup in [Path(f"/proc/{child}/smaps_rollup") for child in [pid, *children(pid)]]:
        total += next(
            int(line.split()[1]) for line in rollup.read_text().splitlines() if line.startswith("Pss:")
        )
    return total / 1024


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def measure(post: Callable[[], tuple[float, object]], count: int) -> list[float]:
    return [post()[0] for _ in range(count)]


def percentile(samples: list[float], percent: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def row(name: str, rounds: list[list[float]]) -> str:
    """One table row: median of the rounds' p50 with its range, then p99 over all samples."""
    medians = [statistics.median(samples) for samples in rounds]
    everything = [sample for samples in rounds for sample in samples]
    spread = f"{min(medians):.2f}-{max(medians):.2f}"
    p50, p99 = statistics.median(medians), percentile(everything, 99)
    return f"| {name} | {p50:.2f} | {spread} | {p99:.2f} | {len(everything)} |"


def runner_argv(binary: Path, home: Path, port: int) -> list[str]:
    for name in ("workspace", "forks", "token"):
        (home / name).mkdir()
    (home / "token/token").write_text(secrets.token_hex(32))
    argv = [str(binary), "serve", "--listen", f"127.0.0.1:{port}"]
    for flag, name in [("token-file", "token/token"), ("workspace", "workspace"), ("forks-dir", "forks")]:
        argv += [f"--{flag}", str(home / name)]
    return argv


def first_exec_ms(binary: Path) -> float:
    """Time from starting the runner to the reply of its first command."""
    with tempfile.TemporaryDirectory() as folder:
        home, port = Path(folder), free_port()
        argv = runner_argv(binary, home, port)
        headers = {"authorization": "Bearer " + (home / "token/token").read_text()}
        started = time.perf_counter()
        with serving(argv, port, home):
            Client(port, headers).post("/v1/exec", {"argv": ["/bin/true"]})
            return (time.perf_counter() - started) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ROOT / "dist/bin/env-runner"
    parser.add_argument("--runner", type=Path, default=default)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--per-round", type=int, default=200)
    options = parser.parse_args()
    if not options.runner.exists():
        parser.error(f"--runner: {options.runner} does not exist; `make build` makes it")
    load_before = os.getloadavg()[0]
    starts = sorted(first_exec_ms(options.runner) for _ in range(5))
    with tempfile.TemporaryDirectory() as folder:
        home, ours_port, theirs_port = Path(folder), free_port(), free_port()
        argv = runner_argv(options.runner, home, ours_port)
        token = (home / "token/token").read_text()
        rex = [str(swe_rex()), "--host", "127.0.0.1", "--port", str(theirs_port), "--auth-token", token]
        with serving(argv, ours_port, home) as runner, serving(rex, theirs_port, home):
            idle_mib = tree_rss_mib(runner.pid)
            ours = Client(ours_port, {"authorization": f"Bearer {token}"})
            theirs = Client(theirs_port, {"x-api-key": token})
            calls: dict[str, Callable[[], tuple[float, object]]] = {
                "env-runner `/v1/exec`, sandboxed": lambda: ours.post("/v1/exec", {"argv": ["/bin/true"]}),
                "SWE-ReX `/execute`, not sandboxed": lambda: theirs.post(
                    "/execute", {"command": ["/bin/true"]}
                ),
                "env-runner `/v1/noop`": lambda: ours.post("/v1/noop", {}),
            }
            isolation = calls["env-runner `/v1/exec`, sandboxed"]()[1]["isolation"]  # type: ignore[index]
            for call in calls.values():
                measure(call, WARM_UP)
            samples: dict[str, list[list[float]]] = {name: [] for name in calls}
            for _ in range(options.rounds):
                for name, call in calls.items():
                    samples[name].append(measure(call, options.per_round))
    print("## Runner: `/bin/true` over HTTP\n")
    kernel = f"{platform.system()} {platform.release()}"
    print(f"{os.cpu_count()} cores, {kernel}, Python {platform.python_version()};", end=" ")
    print(f"load {load_before:.1f} before, {os.getloadavg()[0]:.1f} after; {SWE_REX}; no failed request.\n")
    print("| | p50 ms | range of rounds' p50 | p99 ms | samples |\n|---|---|---|---|---|")
    for name, rounds in samples.items():
        print(row(name, rounds))
    print(f"\nIsolation of every command: {', '.join(isolation)}.")
    print(
        f"Start to first reply: {statistics.median(starts):.0f} ms (median of 5, {starts[0]:.0f}-{starts[-1]:.0f})."
    )
    print(f"Memory when idle: {idle_mib:.1f} MiB (PSS of runner and zygote).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
