"""Fake nodes come and go by number, on a cluster of the local provider."""

from __future__ import annotations

import json

from tests.cluster.conftest import Up, on_local_provider, tool
from tools.cluster.fakenodes import LABEL
from tools.cluster.kubectl import kubectl
from tools.cluster.provider import Cluster

pytestmark = on_local_provider


def test_there_are_as_many_fake_nodes_as_asked_for_and_then_none(up: Up) -> None:
    cluster = up("fakes")
    for count in (3, 1):
        tool("fake-nodes", "--name", "fakes", str(count))
        assert ready_fakes(cluster) == [f"fake-{number:05d}" for number in range(count)]
    tool("fake-nodes", "--name", "fakes", "0")
    assert ready_fakes(cluster) == []
    gone = ("deployment", "kwok", "--namespace=kube-system", "--ignore-not-found", "--output=name")
    assert kubectl(cluster.kubeconfig, "get", *gone) == ""
    (real,) = kubectl(cluster.kubeconfig, "get", "nodes", "--output=name").split()
    assert real == "node/dspy-fakes"


def ready_fakes(cluster: Cluster) -> list[str]:
    """Names of the fake nodes, all of which must be ready."""
    listed = json.loads(kubectl(cluster.kubeconfig, "get", "nodes", f"--selector={LABEL}", "--output=json"))
    for each in listed["items"]:
        (ready,) = (c for c in each["status"]["conditions"] if c["type"] == "Ready")
        assert ready["status"] == "True"
    return sorted(each["metadata"]["name"] for each in listed["items"])
