"""Tasks that run in a copy of an archive from RedDB, which their runner is sent once."""

from __future__ import annotations

import hashlib
import io
import tarfile
import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.kube import Kube
from tests.e2e.marks import in_cluster
from tests.e2e.orchestrator import Orchestrator, orchestrator_of, record
from tests.e2e.portforward import port_forward, secret_value

pytestmark = in_cluster(120)

# No runner of a cluster that is kept holds it yet.
CONTENT = f"found in the workspace of {uuid.uuid4()}\n".encode()


@pytest.fixture(scope="module")
def orchestrator(release: Kube) -> Iterator[Orchestrator]:
    with orchestrator_of(release) as client:
        yield client


@pytest.fixture(scope="module")
def workspace(release: Kube) -> str:
    """SHA-256 of an archive with one file, which RedDB has."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("data/greeting.txt")
        entry.size = len(CONTENT)
        tar.addfile(entry, io.BytesIO(CONTENT))
    sha256 = hashlib.sha256(archive.getvalue()).hexdigest()
    headers = {"Authorization": f"Bearer {secret_value(release, 'reddb-token')}"}
    with port_forward(release, "service/reddb", 8082) as port:
        stored = httpx.put(
            f"http://127.0.0.1:{port}/v1/blobs/{sha256}", content=archive.getvalue(), headers=headers
        )
    assert stored.status_code == httpx.codes.CREATED, stored.text
    return sha256


def copies(orchestrator: Orchestrator, outcome: str) -> float:
    return orchestrator.metric(f'dspy_orchestrator_workspaces_total{{outcome="{outcome}"}}')


def held(release: Kube) -> list[str]:
    """What the one shared runner says that it holds."""
    headers = {"Authorization": f"Bearer {secret_value(release, 'dspy-agent-runners-token')}"}
    with port_forward(release, "deployment/dspy-agent-runners", 8080) as port:
        listed = record(httpx.get(f"http://127.0.0.1:{port}/v1/workspaces", headers=headers))
    return [each["sha256"] for each in listed["workspaces"]]


def test_a_workspace_is_sent_to_its_runner_once(
    release: Kube, orchestrator: Orchestrator, workspace: str
) -> None:
    before = {outcome: copies(orchestrator, outcome) for outcome in ("copied", "held", "failed")}
    # The second finds what the first found, whatever that did to its own copy.
    command = ["sh", "-c", "cat data/greeting.txt && rm -r data && echo gone > more.txt && ls"]
    for _ in range(2):
        done = orchestrator.ended(orchestrator.submit(argv=command, workspace=workspace))
        assert (done["state"], done["result"]["stdout"]) == ("Succeeded", CONTENT.decode() + "more.txt\n"), (
            done
        )
    counted = {outcome: copies(orchestrator, outcome) - before[outcome] for outcome in before}
    assert counted == {"copied": 1, "held": 1, "failed": 0}
    assert held(release).count(workspace) == 1


def test_a_workspace_that_nobody_stored_ends_the_task_with_what_to_do(orchestrator: Orchestrator) -> None:
    done = orchestrator.ended(orchestrator.submit(argv=["true"], workspace="0" * 64))
    assert (done["state"], done["attempts"], done["error"]["code"]) == ("Failed", 1, "WorkspaceNotFound"), (
        done
    )
    assert "upload the workspace's archive there before the task" in done["error"]["message"]
