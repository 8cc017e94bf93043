"""The orchestrator's queue in the cluster: tasks through its API, run by the shared runners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.kube import Kube
from tests.e2e.marks import in_cluster
from tests.e2e.orchestrator import Orchestrator, orchestrator_of

pytestmark = in_cluster(300)


@pytest.fixture(scope="module")
def orchestrator(release: Kube) -> Iterator[Orchestrator]:
    with orchestrator_of(release) as client:
        yield client


def test_nobody_gets_in_without_the_token(release: Kube) -> None:
    with orchestrator_of(release, "wrong") as client:
        assert client.post("/v1/tasks", {"argv": ["true"]}).status_code == 401


def test_a_task_runs_on_a_shared_runner(orchestrator: Orchestrator) -> None:
    record = orchestrator.ended(orchestrator.submit(argv=["echo", "hello"]))
    assert record["state"] == "Succeeded"
    assert record["result"]["stdout"] == "hello\n"


def test_a_failing_command_is_a_result_and_not_retried(orchestrator: Orchestrator) -> None:
    record = orchestrator.ended(orchestrator.submit(argv=["false"]))
    assert (record["state"], record["attempts"], record["result"]["exit_code"]) == ("Failed", 1, 1)
