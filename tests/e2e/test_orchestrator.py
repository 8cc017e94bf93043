"""The orchestrator's queue in the cluster: tasks through its API, run by the shared runners."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.kube import Kube
from tests.e2e.marks import in_cluster
from tests.e2e.portforward import port_forward, secret_value

pytestmark = in_cluster(300)
ENDED = {"Succeeded", "Failed", "Cancelled", "Dead"}


@pytest.fixture(scope="module")
def orchestrator(release: Kube) -> Iterator[httpx.Client]:
    token = secret_value(release, "dspy-agent-orchestrator-token")
    with (
        port_forward(release, "service/dspy-agent-orchestrator", 9097) as port,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=30
        ) as client,
    ):
        yield client


def ended(client: httpx.Client, task: str, seconds: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        record: dict[str, Any] = client.get(f"/v1/tasks/{task}").raise_for_status().json()
        if record["state"] in ENDED:
            return record
        time.sleep(0.05)  # the API has no watch yet
    raise AssertionError(f"task {task} did not end: {record}")


def test_nobody_gets_in_without_the_token(orchestrator: httpx.Client) -> None:
    answer = orchestrator.post(
        "/v1/tasks", json={"argv": ["true"]}, headers={"Authorization": "Bearer wrong"}
    )
    assert answer.status_code == 401


def test_a_task_runs_on_a_shared_runner(orchestrator: httpx.Client) -> None:
    task = orchestrator.post("/v1/tasks", json={"argv": ["echo", "hello"]}).raise_for_status().json()["id"]
    record = ended(orchestrator, task)
    assert record["state"] == "Succeeded"
    assert record["result"]["stdout"] == "hello\n"


def test_a_failing_command_is_a_result_and_not_retried(orchestrator: httpx.Client) -> None:
    task = orchestrator.post("/v1/tasks", json={"argv": ["false"]}).raise_for_status().json()["id"]
    record = ended(orchestrator, task)
    assert (record["state"], record["attempts"], record["result"]["exit_code"]) == ("Failed", 1, 1)


def test_a_batch_survives_the_orchestrators_death(orchestrator: httpx.Client, release: Kube) -> None:
    batch = {"tasks": [{"argv": ["true"]} for _ in range(200)]}
    ids = orchestrator.post("/v1/tasks", json=batch).raise_for_status().json()["ids"]
    for pod in release.list("pods", "app.kubernetes.io/component=orchestrator"):
        release.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")
    release.run("rollout", "status", "deployment/dspy-agent-orchestrator", "--timeout=120s", timeout=130)
    with (
        port_forward(release, "service/dspy-agent-orchestrator", 9097) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=orchestrator.headers, timeout=30) as client,
    ):
        states = [ended(client, task, seconds=120)["state"] for task in ids]
    assert states == ["Succeeded"] * 200
