"""Sessions from a pool's warm pods on a real cluster: what one needs is bound into a pod that runs already."""

from __future__ import annotations

from tests.e2e.kube import Kube, Manifest
from tests.e2e.manifests import API_VERSION, BUGGY_FILES, config_map, session
from tests.e2e.marks import in_cluster

pytestmark = in_cluster(420)

# Passes before the repair and after it, where commands see what the session was given.
SEES_ITS_VARIABLES = """

def test_commands_see_the_variables():
    import os

    assert os.environ["GREETING"] == "hello, world"
    assert os.environ["PASSWORD"] == "of the secret"
    assert os.environ["BOTH"] == "hello, world and $(this)"
    assert not [name for name in os.environ if name.startswith("DSPY_")]
"""
FILES = {**BUGGY_FILES, "test_pages.py": BUGGY_FILES["test_pages.py"] + SEES_ITS_VARIABLES}
ENV = [
    {"name": "GREETING", "value": "hello, world"},
    {"name": "BOTH", "value": "$(GREETING) and $$(this)"},
]


def pool(name: str, replicas: int) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentPool",
        "metadata": {"name": name},
        "spec": {"replicas": replicas},
    }


def secret(name: str, **data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def test_a_warm_session_has_all_that_a_cold_one_has_and_the_pool_is_filled_again(kube: Kube) -> None:
    kube.apply(pool("pair", 2), config_map("warm", FILES), secret("warm", PASSWORD="of the secret"))
    kube.wait("agentpool", "pair", "jsonpath={.status.ready}=2", seconds=240)
    waiting = {pod["metadata"]["name"] for pod in kube.list("pods", "dspyagent.io/pool=pair")}
    assert len(waiting) == 2

    kube.apply(
        session(
            "warm",
            poolRef={"name": "pair"},
            pooling="Require",
            env=ENV,
            envFrom=[{"secretRef": {"name": "warm"}}],
        )
    )
    done = kube.wait("agentsession", "warm", "Finished", seconds=300)
    pod = done["status"]["podName"]
    assert done["status"]["launchType"] == "Warm"
    assert pod in waiting, "it ran in a pod that was there before it"
    assert done["status"]["result"]["outcome"] == "Solved", kube.story("agentsession", "warm")

    kube.wait("agentpool", "pair", "jsonpath={.status.ready}=2", seconds=240)
    assert pod not in {found["metadata"]["name"] for found in kube.list("pods", "dspyagent.io/pool=pair")}
    kube.run("delete", "agentpool", "pair", "--wait=false")
