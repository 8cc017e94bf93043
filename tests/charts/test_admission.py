"""What the chart's admission policy says to people, on a real apiserver."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.charts.apiserver import Apiserver
from tests.charts.manifests import PLURALS, Manifest, objects, render
from tests.charts.specs import MINIMAL

NAMESPACE = "default"
OPERATOR = "system:serviceaccount:dspy-agent:dspy-agent-operator"
ACTIVE_WITHIN_S = 30.0
RESERVED = {"labels": {"dspyagent.io/session": "x"}}


@pytest.fixture(scope="module", autouse=True)
def policy(apiserver: Apiserver) -> Iterator[None]:
    """The policy and its binding, in force."""
    wanted = [each for each in objects(render()) if each["kind"].startswith("ValidatingAdmissionPolicy")]
    assert len(wanted) == 2
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
    applied = apiserver.kubectl("apply", "--server-side", "-f", "-", stdin=listed)
    assert applied.returncode == 0, applied.stderr
    _until_in_force(apiserver)
    yield
    deleted = apiserver.kubectl("delete", "-f", "-", stdin=listed)
    assert deleted.returncode == 0, deleted.stderr


@pytest.mark.parametrize("kind", sorted(MINIMAL))
def test_the_operators_own_labels_and_annotations_are_refused(apiserver: Apiserver, kind: str) -> None:
    for field in ("labels", "annotations"):
        answer = create(apiserver, kind, {field: {"dspyagent.io/pool": "x", "team": "y"}})
        assert answer.status_code == 422
        said = f"{field} that begin with dspyagent.io/ are the operator's own: remove dspyagent.io/pool"
        assert said in answer.json()["message"]
    assert create(apiserver, kind, {"labels": {"team": "y"}, "annotations": {"note": "z"}}).status_code == 201
    assert create(apiserver, kind, {}).status_code == 201


def test_the_operator_may_use_them(apiserver: Apiserver) -> None:
    """It is told apart by its name; what its roles allow is another matter, and refused by another part."""
    answer = create(apiserver, "AgentSession", RESERVED, {"Impersonate-User": OPERATOR})
    assert "operator's own" not in answer.json()["message"]


def test_a_queue_must_have_a_name(apiserver: Apiserver) -> None:
    key = "kueue.x-k8s.io/queue-name"
    assert "names no queue" in create(apiserver, "TrainingJob", {"labels": {key: ""}}).json()["message"]
    assert create(apiserver, "TrainingJob", {"labels": {key: "gpu"}}).status_code == 201


def test_what_was_there_before_may_stay_and_be_deleted(apiserver: Apiserver) -> None:
    path = f"/apis/dspyagent.io/v1alpha1/namespaces/{NAMESPACE}/trainingjobs"
    metadata = {"name": "old", "finalizers": ["example.org/held"], **RESERVED}
    manifest = {
        "apiVersion": "dspyagent.io/v1alpha1",
        "kind": "TrainingJob",
        "metadata": metadata,
        "spec": MINIMAL["TrainingJob"],
    }
    as_operator = {"Impersonate-User": OPERATOR, "Impersonate-Group": "system:masters"}
    assert apiserver.http.post(path, json=manifest, headers=as_operator).status_code == 201

    def change(**metadata: object) -> int:
        merge = {"Content-Type": "application/merge-patch+json"}
        asked = {"metadata": metadata}
        return apiserver.http.patch(f"{path}/old", json=asked, headers=merge).status_code

    assert change(labels={"team": "y"}) == 200
    assert change(labels={"dspyagent.io/session": "another"}) == 422
    assert change(labels={"dspyagent.io/pool": "x"}) == 422
    assert apiserver.http.delete(f"{path}/old").status_code == 200
    assert change(labels={"dspyagent.io/session": "another"}, finalizers=None) == 200
    assert apiserver.http.get(f"{path}/old").status_code == 404


def create(
    server: Apiserver, kind: str, metadata: Manifest, headers: dict[str, str] | None = None
) -> httpx.Response:
    """As `kubectl apply --dry-run=server` asks."""
    manifest = {
        "apiVersion": "dspyagent.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x", **metadata},
        "spec": MINIMAL[kind],
    }
    path = f"/apis/dspyagent.io/v1alpha1/namespaces/{NAMESPACE}/{PLURALS[kind]}"
    return server.http.post(path, params={"dryRun": "All"}, json=manifest, headers=headers)


def _until_in_force(server: Apiserver) -> None:
    """The apiserver reads new policies by a watch of its own."""
    deadline = time.monotonic() + ACTIVE_WITHIN_S
    while create(server, "AgentSession", RESERVED).status_code == 201:
        assert time.monotonic() < deadline, "the policy does not come into force"
        time.sleep(0.1)
