"""What a warm agent takes from the bind until its workspace is ready, and what it holds while it waits.

    python -m benchmarks.agent.bind [--runs 10]

Each run is a new agent, with a runner of its own and one RedDB for all: nothing is warm but what a pool's pod has warm.
Prints a JSON line per workspace: median and range of milliseconds from the request to `Ready`, as the client sees them,
and the agent's resident MiB just before.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.agent.services import TOKEN, RedDb, free_port, reddb, runner
from tools.common.paths import REPOSITORY

BINARIES = REPOSITORY / "dist" / "bin"
RUNNER_TOKEN = "benchmark-runner-token"  # noqa: S105 - of processes that end with the benchmark
BIND_TOKEN = "benchmark-bind-token"  # noqa: S105
FILES = {f"src__module_{number}.py": f"VALUE = {number}\n" * 200 for number in range(20)}
WORKSPACES: dict[str, tuple[dict[str, Any], dict[str, str] | None]] = {
    "empty": ({"empty": {}}, None),
    "configMap, 20 files, 54 KiB": (
        {"configMapRef": {"name": "files"}},
        {name: base64.b64encode(text.encode()).decode() for name, text in FILES.items()},
    ),
}
START_TIMEOUT_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        store = reddb(BINARIES / "reddb", Path(name))
        store.start()
        try:
            for workspace in WORKSPACES:
                print(json.dumps(summary(workspace, [one(store, workspace, run) for run in range(runs)])))
        finally:
            store.kill()


def one(store: RedDb, workspace: str, run: int) -> tuple[float, float]:
    """Milliseconds until it was ready, and MiB before."""
    spec, files = WORKSPACES[workspace]
    body = {
        "session": {
            "metadata": {"namespace": "n", "name": "s", "uid": f"{workspace}-{run}"},
            "spec": {"workspace": spec},
        },
        "environment": [{"name": "NAME", "value": "value"}],
        "reddbToken": TOKEN,
        "workspaceSource": files,
    }
    with tempfile.TemporaryDirectory() as name, warm_agent(store, Path(name)) as (url, process):
        mib = resident_mib(process.pid)
        with httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {BIND_TOKEN}"}, timeout=20, trust_env=False
        ) as client:
            started = time.perf_counter()
            reply = client.post("/v1/bind?waitSeconds=10", json=body)
            ms = (time.perf_counter() - started) * 1000
        assert reply.json() == {"state": "Ready"}, reply.text
        return ms, mib


@contextmanager
def warm_agent(store: RedDb, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    sandbox = runner(BINARIES / "env-runner", folder / "runner", RUNNER_TOKEN, "--bindable")
    sandbox.start()
    (folder / "bound").mkdir()
    url = f"127.0.0.1:{free_port()}"
    environment = {
        "DSPY_AGENT_RUNNER_URL": sandbox.url,
        "DSPY_AGENT_RUNNER_TOKEN_FILE": str(folder / "runner/secret/token"),
        "DSPY_AGENT_REDDB_URL": store.resp_url,
        "DSPY_AGENT_REDDB_HTTP_URL": store.url,
        "DSPY_AGENT_LISTEN": url,
        "DSPY_AGENT_TERMINATION_LOG": str(folder / "termination-log"),
        "DSPY_AGENT_BIND_TOKEN_SHA256": hashlib.sha256(BIND_TOKEN.encode()).hexdigest(),
        "DSPY_AGENT_BOUND_DIR": str(folder / "bound"),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "dspy_agent.cli", "warm"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            wait_ready(f"http://{url}")
            yield f"http://{url}", process
        finally:
            process.kill()
            sandbox.kill()


def wait_ready(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the agent did not become warm")


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS:")).split()[1]) / 1024


def summary(workspace: str, measured: list[tuple[float, float]]) -> dict[str, object]:
    ms, mib = [value for value, _ in measured], [value for _, value in measured]
    return {
        "benchmark": "bind",
        "workspace": workspace,
        "runs": len(measured),
        "ms_to_ready_median": round(statistics.median(ms), 1),
        "ms_to_ready_range": [round(min(ms), 1), round(max(ms), 1)],
        "idle_rss_mib": round(statistics.median(mib), 1),
        "load_average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
