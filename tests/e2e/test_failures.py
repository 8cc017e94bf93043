"""What dies in the middle of a session must not be seen in its result."""

from __future__ import annotations

import pytest

from tests.e2e.events import recorded
from tests.e2e.kube import Kube
from tests.e2e.manifests import BUGGY_FILES, config_map, session
from tests.e2e.marks import in_cluster
from tests.e2e.release import kill, recovered

pytestmark = in_cluster(420)

# Each run of the check takes a second more, so that a session has a middle to be hit in.
SLOW_FILES = {
    **BUGGY_FILES,
    "conftest.py": "import time\n\n\ndef pytest_sessionstart(session):\n    time.sleep(1)\n",
}


def start(kube: Kube, name: str) -> None:
    kube.apply(config_map(name, SLOW_FILES), session(name))
    kube.wait("agentsession", name, "Ready")


def assert_solved_once(kube: Kube, name: str) -> list[str]:
    """The session ended well, and its log tells one story without gap or repetition; return the events' types."""
    done = kube.wait("agentsession", name, "Finished", seconds=300)
    assert done["status"]["result"]["outcome"] == "Solved", kube.story("agentsession", name)
    events = recorded(kube, name)
    types: list[str] = [event["type"] for event in events]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    once = ("session_started", "check_before", "session_finished")
    assert {kind: types.count(kind) for kind in once} == dict.fromkeys(once, 1), types
    assert types[-1] == "session_finished"
    edits = [event["data"]["arguments_sha256"] for event in events if event["type"] == "edit"]
    assert len(edits) == len(set(edits)), "an edit was made twice"
    return types


def uid_of_pod(kube: Kube, name: str) -> str:
    uid: str = kube.get("pod", name)["metadata"]["uid"]
    return uid


def test_a_deleted_pod_is_made_again_and_the_session_ends_right(kube: Kube) -> None:
    start(kube, "pod-lost")
    before = uid_of_pod(kube, "pod-lost")
    kube.run("delete", "pod", "pod-lost", "--grace-period=0", "--force", "--wait=true")
    assert "session_resumed" in assert_solved_once(kube, "pod-lost")
    assert uid_of_pod(kube, "pod-lost") != before


@pytest.mark.parametrize(("component", "kind"), [("operator", "deployment"), ("reddb", "statefulset")])
def test_a_component_killed_in_the_middle_is_not_noticed(
    kube: Kube, release: Kube, component: str, kind: str
) -> None:
    name = f"without-{component}"
    start(kube, name)
    kill(release, component)
    assert "session_resumed" not in assert_solved_once(kube, name)
    recovered(release, component, kind)
