"""What dies in the middle of a session must not be seen in its result."""

from __future__ import annotations

import json

import pytest

from tests.e2e.kube import Kube, Manifest
from tests.e2e.manifests import BUGGY_FILES, config_map, session

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

# Each run of the check takes a second more, so that a session has a middle to be hit in.
SLOW_FILES = {
    **BUGGY_FILES,
    "conftest.py": "import time\n\n\ndef pytest_sessionstart(session):\n    time.sleep(1)\n",
}


def start(kube: Kube, name: str) -> None:
    kube.apply(config_map(name, SLOW_FILES), session(name))
    kube.wait("agentsession", name, "Ready")


def assert_solved_once(kube: Kube, name: str) -> None:
    done = kube.wait("agentsession", name, "Finished", seconds=300)
    assert done["status"]["result"]["outcome"] == "Solved", kube.story("agentsession", name)
    assert len([pod for pod in kube.list("pods") if pod["metadata"]["name"] == name]) == 1


def uid_of_pod(kube: Kube, name: str) -> str:
    uid: str = kube.get("pod", name)["metadata"]["uid"]
    return uid


def test_a_deleted_pod_is_made_again_and_the_session_ends_right(kube: Kube) -> None:
    start(kube, "pod-lost")
    before = uid_of_pod(kube, "pod-lost")
    kube.run("delete", "pod", "pod-lost", "--grace-period=0", "--force", "--wait=true")
    assert_solved_once(kube, "pod-lost")
    assert uid_of_pod(kube, "pod-lost") != before


@pytest.mark.parametrize(("component", "kind"), [("operator", "deployment"), ("reddb", "statefulset")])
def test_a_component_killed_in_the_middle_is_not_noticed(
    kube: Kube, release: Kube, component: str, kind: str
) -> None:
    name = f"without-{component}"
    start(kube, name)
    pods = release.list("pods", f"app.kubernetes.io/component={component}")
    for pod in pods:
        release.run("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=true")
    assert_solved_once(kube, name)
    release.run(
        "rollout", "status", f"{kind}/{workload(release, kind, component)}", "--timeout=120s", timeout=130
    )


def workload(release: Kube, kind: str, component: str) -> str:
    found: list[Manifest] = release.list(kind, f"app.kubernetes.io/component={component}")
    assert len(found) == 1, json.dumps(found)
    name: str = found[0]["metadata"]["name"]
    return name
