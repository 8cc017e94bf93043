"""The log of a job, from the dashboard of a real Ray, and from one that answers what no Ray would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from dspy_operator import errors
from dspy_operator.outside import Outside
from dspy_operator.ray_dashboard import RayDashboard
from dspy_operator.status import training_log

from tests.charts.apiserver import free_ports
from tests.operator import small_trainer
from tests.operator.standin_kuberay import StandInDashboard
from tools.common import paths

RAY = paths.cache() / "ray" / "bin" / "ray"
_WAIT_S = 60.0


@pytest.fixture(scope="module")
def ray() -> Iterator[str]:
    """A real Ray of one node; its dashboard's address."""
    if not RAY.exists():
        pytest.skip("Ray is not installed (`python3 -m tools.setup checks` does it)")
    dashboard, gcs, agent, grpc, client = free_ports(5)
    folder = Path("/tmp") / f"ray-test-{os.getpid()}"  # sockets below it: the path must be short
    env = {
        "PATH": f"{RAY.parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "DSPY_TRAINING_ATTEMPT": "1",
    }
    ports = {
        "port": gcs,
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "dashboard-agent-grpc-port": grpc,
        "ray-client-server-port": client,
        "min-worker-port": 0,
        "max-worker-port": 0,
    }
    room = ["--num-cpus=1", "--object-store-memory=80000000", f"--temp-dir={folder}"]
    given = [*room, "--dashboard-host=127.0.0.1", *(f"--{name}={port}" for name, port in ports.items())]
    started = subprocess.Popen(
        [str(RAY), "start", "--head", "--block", *given],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"127.0.0.1:{dashboard}"
        until(lambda: answers(address), "Ray's dashboard answers")
        yield address
    finally:
        started.terminate()
        started.wait(_WAIT_S)
        shutil.rmtree(folder, ignore_errors=True)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/api/jobs/", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.2)


def ended(address: str, job_id: str) -> bool:
    told = httpx.get(f"http://{address}/api/jobs/{job_id}", trust_env=False).json()
    assert told["status"] != "FAILED", told
    return bool(told["status"] == "SUCCEEDED")


@pytest.mark.timeout(180)
async def test_a_real_trainer_on_a_real_ray(ray: str, tmp_path: Path) -> None:
    entrypoint = f"python {small_trainer.__file__} {tmp_path} 20"
    body = {"entrypoint": entrypoint, "submission_id": "rank-1"}
    submitted = httpx.post(f"http://{ray}/api/jobs/", json=body, trust_env=False, timeout=30)
    assert submitted.is_success, submitted.text
    until(lambda: ended(ray, "rank-1"), "the trainer ends")
    async with Outside() as outside:
        text = await RayDashboard(outside).tail(ray, "rank-1")
        with pytest.raises(errors.ServiceRefusedError):
            await RayDashboard(outside).tail(ray, "another")
    told = training_log.advance({}, text)
    assert told["progress"]["percent"] == 100
    assert told["checkpoint"]["uri"] == (tmp_path / "20.json").as_uri()
    assert len(told["progress"]["curve"]) == 20


async def test_a_log_of_many_megabytes_is_read_at_its_end() -> None:
    last = json.dumps({"dspy": "progress", "step": 7})
    with StandInDashboard() as dashboard:
        dashboard.logs["job"] = f"{'x' * 5_000_000}\n{last}\n"
        async with Outside() as outside:
            text = await RayDashboard(outside).tail(dashboard.address, "job")
    assert len(text) <= 1 << 20
    assert training_log.advance({}, text)["progress"]["step"] == 7


async def test_no_dashboard() -> None:
    (port,) = free_ports(1)
    async with Outside() as outside:
        with pytest.raises(errors.ServiceUnavailableError):
            await RayDashboard(outside).tail(f"127.0.0.1:{port}", "job")
