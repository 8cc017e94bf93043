"""A real Prometheus that scrapes the services of a test."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.agent.services import Service, free_port
from tests.charts.apiserver import process

SCRAPE_SECONDS = 1
WAIT_SECONDS = 40


@dataclass(frozen=True)
class Prometheus:
    """`query` asks for what is true now."""

    url: str

    def query(self, expression: str) -> list[Any]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, trust_env=False)
        assert answer.is_success, answer.text
        found: list[Any] = answer.json()["data"]["result"]
        return found


@contextmanager
def scraping(folder: Path, targets: dict[str, Service]) -> Iterator[Prometheus]:
    """Once each target was scraped often enough for a rate. Targets are by the pod that they stand for."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is not installed: run `make setup`"
    listed = [
        {"targets": [each.url.removeprefix("http://")], "labels": {"namespace": "dspy-agent", "pod": pod}}
        for pod, each in targets.items()
    ]
    job = {"job_name": "all", "scrape_interval": f"{SCRAPE_SECONDS}s", "static_configs": listed}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with process(command, folder / "prometheus.log") as running:
        found = Prometheus(f"http://{address}")
        wait_for_scrapes(found, running, len(targets))
        yield found


def wait_for_scrapes(prometheus: Prometheus, running: subprocess.Popen[bytes], targets: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not ready(prometheus) or len(prometheus.query("sum_over_time(up[1m]) >= 3")) < targets:
        assert running.poll() is None, "prometheus ended"
        assert time.monotonic() < deadline, "prometheus does not scrape"
        time.sleep(0.2)  # there is nothing to wait for: it tells nobody that it has scraped


def ready(prometheus: Prometheus) -> bool:
    try:
        return httpx.get(f"{prometheus.url}/-/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False
