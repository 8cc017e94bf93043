"""Argo CD, Flux and Kustomize: what they are given, on a real apiserver and with the operator's own statuses."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.apiserver import Apiserver, find_tool
from tests.charts.manifests import CHARTS, PLURALS, ROOT, Manifest, objects
from tests.charts.readers import health, kstatus
from tests.operator.fake_kubelet import FakeKubelet, report, result
from tests.operator.kube import Kube
from tests.operator.process import OperatorProcess

DEPLOY = ROOT / "deploy"
TASK = {"prompt": "fix it", "check": {"command": ["pytest"]}}
REFERS = {"workspace": {"configMapRef": {"name": "absent"}}}


@pytest.fixture(scope="module")
def kube(apiserver: Apiserver) -> Iterator[Kube]:
    made = Kube(apiserver.http, "gitops")
    made.create_namespace()
    yield made
    made.delete_everything()


@pytest.fixture(scope="module")
def operator(
    apiserver: Apiserver, kube: Kube, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(apiserver.kubeconfig, kube.namespace, folder) as process:
        yield process


Reach = Callable[[Kube, FakeKubelet], Manifest]


def session(kube: Kube, name: str, **spec: Any) -> None:
    kube.session(name, **{"task": TASK, "policy": {"search": {}}, "workspace": {"empty": {}}, **spec})


def session_starts(kube: Kube, kubelet: FakeKubelet) -> Manifest:
    session(kube, "starts")
    return kube.until_condition("agentsessions", "starts", "Reconciling")


def session_works(kube: Kube, kubelet: FakeKubelet) -> Manifest:
    session(kube, "works")
    kube.until_condition("agentsessions", "works", "Reconciling")
    kubelet.start("works")
    return kube.until_condition("agentsessions", "works", "Ready")


def session_solved(kube: Kube, kubelet: FakeKubelet) -> Manifest:
    session(kube, "solved")
    kube.until_condition("agentsessions", "solved", "Reconciling")
    kubelet.start("solved")
    kubelet.finish("solved", report())
    return kube.until_condition("agentsessions", "solved", "Finished")


def session_is_stalled(kube: Kube, kubelet: FakeKubelet) -> Manifest:
    session(kube, "stalled", **REFERS)
    return kube.until_condition("agentsessions", "stalled", "Stalled")


def task_runs(kube: Kube, kubelet: FakeKubelet) -> Manifest:
    kube.task("runs", command=["true"])
    return kube.until_condition("envtasks", "runs", "Reconciling")


def task_has_ended(name: str, exit_code: int, reached: str) -> Reach:
    def reach(kube: Kube, kubelet: FakeKubelet) -> Manifest:
        kube.task(name, command=["true"], backoffLimit=0)
        kube.until_condition("envtasks", name, "Reconciling")
        kubelet.run_task(f"{name}-1")
        reason = "NonZeroExit" if exit_code else "Completed"
        kubelet.end_task(f"{name}-1", exit_code, result(exitCode=exit_code, reason=reason))
        return kube.until_condition("envtasks", name, reached)

    return reach


def task_lacks_a_secret(kube: Kube, kubelet: FakeKubelet) -> Manifest:
    absent = {"secretKeyRef": {"name": "absent", "key": "x"}}
    kube.task("lacks", command=["true"], env=[{"name": "A", "valueFrom": absent}])
    return kube.until_condition("envtasks", "lacks", "Stalled")


@pytest.mark.parametrize(
    ("reach", "argo", "flux"),
    [
        (session_starts, "Progressing", "InProgress"),
        (session_works, "Healthy", "Current"),
        # Its Ready is False for good: docs/gitops.md says how Flux is told.
        (session_solved, "Healthy", "InProgress"),
        (session_is_stalled, "Degraded", "Failed"),
        (task_runs, "Progressing", "InProgress"),
        (task_has_ended("passes", 0, "Complete"), "Healthy", "Current"),
        # kstatus knows no Failed: it reads a task that failed as one that is done.
        (task_has_ended("fails", 1, "Failed"), "Degraded", "Current"),
        (task_lacks_a_secret, "Degraded", "Failed"),
    ],
)
@pytest.mark.usefixtures("operator")
def test_what_the_operator_writes_is_understood(kube: Kube, reach: Reach, argo: str, flux: str) -> None:
    seen = reach(kube, FakeKubelet(kube))
    assert (health(seen)[0], kstatus(seen)) == (argo, flux)


def object_with(generation: int = 1, **conditions: str) -> Manifest:
    listed = [
        {"type": kind, "status": status, "reason": "Because", "message": f'about "{kind}"'}
        for kind, status in conditions.items()
    ]
    return {"metadata": {"generation": generation}, "status": {"observedGeneration": 1, "conditions": listed}}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"metadata": {"generation": 1}}, "Progressing"),
        (object_with(), "Progressing"),
        (object_with(2, Ready="True"), "Progressing"),
        (object_with(Ready="True", Stalled="False"), "Healthy"),
        (object_with(Ready="False", Suspended="True"), "Suspended"),
        (object_with(Ready="False", Finished="True", Stalled="True"), "Degraded"),
        (object_with(Submitted="True", Reconciling="True"), "Progressing"),
        (object_with(Complete="False", Failed="True"), "Degraded"),
    ],
)
def test_other_states(seen: Manifest, expected: str) -> None:
    assert health(seen)[0] == expected


def test_the_message_is_the_conditions() -> None:
    assert health(object_with(Stalled="True")) == ("Degraded", 'about "Stalled"')


def test_argo_cd_is_told_of_every_kind() -> None:
    patch = yaml.safe_load((DEPLOY / "argocd" / "argocd-cm.yaml").read_text())
    keys = {f"resource.customizations.health.dspyagent.io_{kind}" for kind in PLURALS}
    assert patch["data"].keys() == keys
    assert set(patch["data"].values()) == {(DEPLOY / "argocd" / "health.lua").read_text()}


def application() -> str:
    """What Argo CD renders for the example."""
    _, example = yaml.safe_load_all((DEPLOY / "argocd" / "application.yaml").read_text())
    source = example["spec"]["source"]
    values = yaml.safe_dump(source["helm"]["valuesObject"])
    chart = str(CHARTS / Path(source["path"]).name)
    done = subprocess.run(
        [find_tool("helm"), "template", source["helm"]["releaseName"], chart, "--skip-tests",
         f"--namespace={example['spec']['destination']['namespace']}", "--kube-version=1.34.0", "--values=-"],
        input=values, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_application_renders_the_same_each_time() -> None:
    """Nothing random, no hook: else each comparison would find a difference."""
    rendered = application()
    assert rendered == application()
    kinds = {each["kind"] for each in objects(rendered)}
    assert not kinds & {"Secret", "Pod"}


@pytest.mark.parametrize("how", ["application", "kustomize"])
def test_nothing_drifts_after_a_sync(apiserver: Apiserver, how: str) -> None:
    """Applied, and compared as Argo CD does with ServerSideApply: defaults of the apiserver are no difference."""
    manifests = application() if how == "application" else kustomized("base")
    apply = ("apply", "--server-side", "--field-manager=argocd-controller", "--validate=strict", "-f", "-")
    apiserver.kubectl("create", "namespace", "dspy-agent")
    applied = apiserver.kubectl(*apply, "--force-conflicts", stdin=manifests)
    assert applied.returncode == 0, applied.stderr
    compared = apiserver.kubectl(
        "diff", "--server-side", "--field-manager=argocd-controller", "-f", "-", stdin=manifests
    )
    assert (compared.returncode, compared.stdout) == (0, ""), compared.stdout + compared.stderr
    deleted = apiserver.kubectl("delete", "-f", "-", "--ignore-not-found", "--wait=false", stdin=manifests)
    assert deleted.returncode == 0, deleted.stderr


def kustomized(folder: str) -> str:
    done = subprocess.run(
        [find_tool("kubectl"), "kustomize", str(DEPLOY / "kustomize" / folder)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_changes_every_image() -> None:
    made = objects(kustomized("example"))
    assert {each["metadata"].get("namespace", "dspy-agent") for each in made} == {"dspy-agent"}
    text = yaml.safe_dump_all(made)
    assert "localhost/" not in text
    assert text.count("registry.example.org/dspy-agent/") >= 8
