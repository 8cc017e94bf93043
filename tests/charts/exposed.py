"""The real services at work, for what they show in /metrics."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.agent.services import Service, free_port, orchestrator, reddb, runner
from tests.charts.manifests import ROOT

BINARIES = ROOT / "dist" / "bin"
TOKEN, RUNNER_TOKEN = "orchestrator-test-token", "runner-test-token"
NO_WORKSPACE = "0" * 64

Labels = frozenset[str]


@dataclass(frozen=True)
class Services:
    """RedDB, a shared runner and an orchestrator that knows a Slurm which does not answer."""

    reddb: Service
    runner: Service
    orchestrator: Service

    def tasks(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`dspy-agent tasks`, to its end."""
        ours = {
            "DSPY_AGENT_ORCHESTRATOR_URL": self.orchestrator.url,
            "DSPY_AGENT_ORCHESTRATOR_TOKEN": TOKEN,
        }
        return subprocess.run(
            [sys.executable, "-m", "dspy_agent.cli", "tasks", *words],
            env={**os.environ, **ours},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def metrics(self) -> dict[str, Labels]:
        """Every name that the three show, with the names of its labels."""
        texts = [get(each, "/metrics") for each in (self.reddb, self.runner, self.orchestrator)]
        return {name: labels for text in texts for name, labels in shown(text).items()}


@contextmanager
def services(folder: Path) -> Iterator[Services]:
    (folder / "store").mkdir()
    store = reddb(BINARIES / "reddb", folder / "store")
    place = runner(BINARIES / "env-runner", folder / "runner", RUNNER_TOKEN)
    queue = orchestrator(BINARIES / "orchestrator", folder / "orchestrator", store, place, TOKEN)
    slurm = {
        "slurm": f"http://127.0.0.1:{free_port()}",
        "slurm-user": "tasks",
        "slurm-token-file": folder / "jwt",
    }
    (folder / "jwt").write_text("a.b.c")
    queue.argv.extend(f"--{name}={value}" for name, value in slurm.items())
    queue.argv.append(f"--blobs={store.url}")
    with ExitStack() as running:
        for each in (store, place, queue):
            running.callback(each.kill)
            each.start()
        yield Services(store, place, queue)


def get(service: Service, path: str) -> str:
    return httpx.get(f"{service.url}{path}", trust_env=False).raise_for_status().text


def shown(text: str) -> dict[str, Labels]:
    """Names of the samples in an exposition, each with the names of all its labels."""
    found: dict[str, Labels] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, frozenset()) | sample.labels.keys()
    return found
