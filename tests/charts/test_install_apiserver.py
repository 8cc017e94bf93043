"""Helm at work on an apiserver: what an upgrade keeps, and what an uninstall leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.charts.apiserver import Apiserver
from tests.charts.manifests import CHARTS, PLURALS, helm

NAMESPACE = "installed"
TOKENS = ("reddb-token", "dspy-agent-orchestrator-token", "dspy-agent-runners-token")


def helm_on(server: Apiserver, *arguments: str) -> str:
    done = helm(*arguments, f"--kubeconfig={server.kubeconfig}", f"--namespace={NAMESPACE}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def release(apiserver: Apiserver) -> Iterator[str]:
    """The chart, installed; what helm printed."""
    yield helm_on(apiserver, "install", "dspy-agent", str(CHARTS / "dspy-agent"), "--create-namespace")
    helm_on(apiserver, "uninstall", "dspy-agent")


def tokens(server: Apiserver) -> list[str]:
    found = [server.http.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}").json() for name in TOKENS]
    return [each["data"]["token"] for each in found]


def test_an_upgrade_keeps_the_tokens(apiserver: Apiserver, release: str) -> None:
    before = tokens(apiserver)
    helm_on(apiserver, "upgrade", "dspy-agent", str(CHARTS / "dspy-agent"), "--set=operator.workers=8")
    assert tokens(apiserver) == before


def test_the_notes_show_what_to_do_next(release: str) -> None:
    assert f"kubectl -n {NAMESPACE} get pods -l app.kubernetes.io/instance=dspy-agent" in release
    assert "kubectl apply -f - <<END" in release
    assert "kubectl get dspy --all-namespaces" in release
    assert "The custom resources are missing" not in release


def test_uninstalling_the_crds_chart_keeps_the_crds(apiserver: Apiserver) -> None:
    chart = str(CHARTS / "dspy-agent-crds")
    # The fixture applied them by hand, as a user may have done before: the chart takes them over.
    helm_on(apiserver, "install", "dspy-agent-crds", chart, "--create-namespace", "--take-ownership")
    helm_on(apiserver, "uninstall", "dspy-agent-crds")
    for plural in PLURALS.values():
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.dspyagent.io"
        assert apiserver.http.get(path).status_code == 200
