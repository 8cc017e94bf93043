"""From the previous release to this one, with live sessions and tasks: Helm upgrades, this operator takes over.

tests/charts/previous has that release's charts, and the objects as its operator left them (capture.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.charts.apiserver import Apiserver, running_apiserver
from tests.charts.manifests import CHARTS, PLURALS, Manifest, helm
from tests.operator.fake_kubelet import FakeKubelet, report, result
from tests.operator.kube import Kube
from tests.operator.process import OperatorProcess

PREVIOUS = Path(__file__).resolve().parent / "previous"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
RELEASE = "dspy-agent"
TOKENS = ("reddb-token", "dspy-agent-orchestrator-token", "dspy-agent-runners-token")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    """An apiserver with the previous release installed."""
    with running_apiserver(tmp_path_factory.mktemp("upgrade")) as running:
        for chart in ("dspy-agent-crds", "dspy-agent"):
            (package,) = PREVIOUS.glob(f"{chart}-[0-9]*.tgz")
            helm_on(running, "install", chart, str(package), "--create-namespace")
        running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield running


@pytest.fixture(scope="module")
def kube(server: Apiserver) -> Kube:
    """A namespace with the previous release's objects, as if all had happened just now."""
    made = Kube(server.http, "live")
    made.create_namespace()
    uids: dict[str, str] = {}
    for each in sorted(happened_now(), key=lambda each: each["kind"] == "Pod"):
        put(made, each, uids)
    return made


@pytest.fixture(scope="module")
def upgraded(server: Apiserver, kube: Kube) -> dict[str, Any]:
    """What was there before, with this release's charts in place now."""
    before = {"objects": everything(server), "tokens": tokens(server)}
    helm_on(server, "upgrade", "dspy-agent-crds", str(CHARTS / "dspy-agent-crds"))
    helm_on(server, "upgrade", "dspy-agent", str(CHARTS / "dspy-agent"))
    return before


def helm_on(server: Apiserver, *arguments: str) -> None:
    done = helm(*arguments, f"--kubeconfig={server.kubeconfig}", f"--namespace={RELEASE}")
    assert done.returncode == 0, done.stderr


def happened_now() -> list[Manifest]:
    """The recorded objects with their times moved, so that no deadline of theirs has passed."""
    text = (PREVIOUS / "live.json").read_text()
    moved = datetime.now(UTC).replace(microsecond=0) - max(map(datetime.fromisoformat, TIME.findall(text)))

    def move(found: re.Match[str]) -> str:
        return (datetime.fromisoformat(found[0]) + moved).strftime("%Y-%m-%dT%H:%M:%SZ")

    loaded: list[Manifest] = json.loads(TIME.sub(move, text))
    return loaded


def put(kube: Kube, recorded: Manifest, uids: dict[str, str]) -> None:
    """Creates the object with its status. `uids` grows by its old and new uid: pods refer to their owners'."""
    plural = PLURALS.get(recorded["kind"], "pods").lower()
    metadata = dict(recorded["metadata"])
    old = metadata.pop("uid")
    for owner in metadata.get("ownerReferences", []):
        owner["uid"] = uids[owner["uid"]]
    name = metadata["name"]
    bare = {field: value for field, value in recorded.items() if field != "status"}
    uids[old] = kube.create(plural, {**bare, "metadata": metadata})["metadata"]["uid"]
    kube.patch(plural, name, {"status": recorded["status"]}, "status")


def everything(server: Apiserver) -> list[Manifest]:
    """By kubectl, which asks again while the apiserver sets up the changed kinds."""
    done = server.kubectl("get", "agentsessions,envtasks,pods", "--namespace=live", "--output=json")
    assert done.returncode == 0, done.stderr
    found: list[Manifest] = json.loads(done.stdout)["items"]
    return found


def tokens(server: Apiserver) -> list[str]:
    path = f"/api/v1/namespaces/{RELEASE}/secrets"
    return [server.http.get(f"{path}/{name}").json()["data"]["token"] for name in TOKENS]


def test_objects_and_tokens_are_as_they_were(server: Apiserver, kube: Kube, upgraded: dict[str, Any]) -> None:
    """The new schemas keep every field, and no object is written."""
    assert everything(server) == upgraded["objects"]
    assert tokens(server) == upgraded["tokens"]


@pytest.mark.usefixtures("upgraded")
def test_sessions_and_tasks_go_on(server: Apiserver, kube: Kube, tmp_path: Path) -> None:
    """This operator knows the previous one's pods: it makes none anew, removes none, and sees them to their end."""
    pods = {each["metadata"]["name"]: each["metadata"]["uid"] for each in kube.list("pods")}
    kubelet = FakeKubelet(kube)
    with OperatorProcess(server.kubeconfig, kube.namespace, tmp_path) as operator:
        kubelet.finish("works", report())
        kubelet.end_task("runs-1", 0, result(exitCode=0, reason="Completed"))
        kube.until_condition("agentsessions", "works", "Finished", "CheckPassed")
        kube.until_condition("envtasks", "runs", "Complete")
        writes = operator.writes()
    assert {each["metadata"]["name"]: each["metadata"]["uid"] for each in kube.list("pods")} == pods
    assert not [verb for verb, resource in writes if resource == "pods"]


@pytest.mark.usefixtures("upgraded")
def test_the_way_back_is_open(server: Apiserver) -> None:
    helm_on(server, "rollback", "dspy-agent")
