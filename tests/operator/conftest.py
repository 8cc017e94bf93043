"""One apiserver for all tests of this folder that need a real one; a namespace and an operator process per test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.charts.apiserver import Apiserver, running_apiserver
from tests.operator.fake_kubelet import FakeKubelet
from tests.operator.kube import CRDS, Kube
from tests.operator.process import OperatorProcess
from tests.operator.warm_pods import WarmPods, warm_pods

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    """etcd and an apiserver with our CRDs; nothing schedules or runs pods."""
    with running_apiserver(tmp_path_factory.mktemp("apiserver")) as server:
        applied = server.kubectl("apply", "--server-side", "-f", str(CRDS))
        assert applied.returncode == 0, applied.stderr
        served = server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        assert served.returncode == 0, served.stderr
        yield server


@pytest.fixture
def kube(apiserver: Apiserver) -> Iterator[Kube]:
    """The API as a user sees it, in a fresh namespace that is emptied at the end."""
    made = Kube(apiserver.http, f"test-{next(_numbers)}")
    made.create_namespace()
    yield made
    made.delete_everything()


@pytest.fixture
def kubelet(kube: Kube) -> FakeKubelet:
    """Plays scheduler and kubelet for the pods of the test's namespace."""
    return FakeKubelet(kube)


@pytest.fixture
def operator(apiserver: Apiserver, kube: Kube, tmp_path: Path) -> Iterator[OperatorProcess]:
    """The operator as a process of its own, serving the test's namespace."""
    with OperatorProcess(apiserver.kubeconfig, kube.namespace, tmp_path) as process:
        yield process


@pytest.fixture
def warm(kube: Kube) -> Iterator[WarmPods]:
    """Plays kubelet and agents for the pods of the test's pools."""
    with warm_pods(kube) as made:
        yield made
