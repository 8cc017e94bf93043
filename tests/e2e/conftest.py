"""One cluster with the chart on it for all end-to-end tests; removed at the end, passed or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster_servers import GIT_SERVER
from tests.e2e.cluster_servers import scripted_model as scripted_model_manifests
from tests.e2e.kube import Kube
from tests.e2e.product import installed

# Name a cluster that is up (say, the demo's) to try a change without waiting for a new one; it is left as it is.
KEPT_CLUSTER = os.environ.get("DSPY_E2E_CLUSTER")
CLUSTER = KEPT_CLUSTER or "e2e"
RELEASE_NAMESPACE = "dspy-agent"
NAMESPACE = "e2e"


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    with installed(CLUSTER, kept=KEPT_CLUSTER is not None) as path:
        yield path


@pytest.fixture(scope="session")
def release(kubeconfig: Path) -> Kube:
    return Kube(kubeconfig, RELEASE_NAMESPACE)


@pytest.fixture(scope="session")
def kube(kubeconfig: Path) -> Kube:
    """The namespace of the tests, under the restricted Pod Security standard like any careful team's."""
    found = Kube(kubeconfig, NAMESPACE)
    found.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
    )
    return found


@pytest.fixture(scope="session")
def git_server(kube: Kube) -> str:
    """URL of a git host in the cluster that serves `pages.git`."""
    kube.apply(*GIT_SERVER)
    kube.run("wait", "pod/git-server", "--for=condition=Ready", "--timeout=120s", timeout=130)
    return f"http://git-server.{NAMESPACE}.svc:8000"


@pytest.fixture(scope="session")
def scripted_model(kube: Kube) -> str:
    """URL of an OpenAI-compatible endpoint whose answers are scripted: a model's weights are not to be had here."""
    kube.apply(*scripted_model_manifests())
    kube.run("wait", "pod/scripted-model", "--for=condition=Ready", "--timeout=120s", timeout=130)
    return f"http://scripted-model.{NAMESPACE}.svc:8000/v1"


@pytest.fixture(autouse=True, scope="session")
def tools_on_path() -> None:
    """kubectl and helm come from the cache, where `make setup` put them."""
    cache = Path(os.environ.get("DSPY_CACHE") or Path.home() / ".cache" / "dspy-agent")
    os.environ["PATH"] = f"{cache / 'bin'}{os.pathsep}{os.environ['PATH']}"
