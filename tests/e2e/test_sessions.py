"""AgentSessions on a real cluster, from `kubectl apply` to the patch."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from typing import Any

import httpx
import pytest

from tests.e2e.kube import Kube, Manifest, condition
from tests.e2e.manifests import API_VERSION, BUGGY_FILES, PYTEST, config_map, interactive, session
from tests.e2e.marks import in_cluster
from tests.e2e.portforward import port_forward, secret_value

pytestmark = in_cluster(420)


def test_a_session_repairs_its_workspace_and_says_so(kube: Kube) -> None:
    kube.apply(config_map("pages", BUGGY_FILES), session("pages"))
    done = kube.wait("agentsession", "pages", "Finished", seconds=300)
    result = done["status"]["result"]
    assert result["outcome"] == "Solved", kube.story("agentsession", "pages")
    assert result["checkExitCode"] == 0
    assert result["patchRef"].startswith("reddb://blobs/sha256/")
    assert done["status"]["launchType"] == "Cold"
    assert done["status"]["readyTime"] >= done["status"]["startTime"]


def test_what_people_see_of_a_session(kube: Kube) -> None:
    kube.apply(config_map("seen", BUGGY_FILES), session("seen"))
    kube.wait("agentsession", "seen", "Finished", seconds=300)
    header, row = kube.run("get", "ags", "seen").splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "MODE", "LAUNCH", "OUTCOME", "AGE"]
    assert "Solved" in row
    wide = kube.run("get", "ags", "seen", "-o", "wide").splitlines()[0].split()
    assert {"POD", "NODE", "TURNS", "POLICY"} <= set(wide)


def test_the_workspace_may_come_from_git(kube: Kube, git_server: str) -> None:
    kube.apply(session("from-git", workspace={"git": {"url": f"{git_server}/pages.git", "ref": "main"}}))
    done = kube.wait("agentsession", "from-git", "Finished", seconds=300)
    assert done["status"]["result"]["outcome"] == "Solved", kube.story("agentsession", "from-git")


def packed(files: dict[str, str]) -> bytes:
    """A gzipped tar archive, the same for the same files: a blob's name is its hash."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue(), mtime=0)


def test_the_workspace_may_come_from_a_blob(kube: Kube, release: Kube) -> None:
    token = secret_value(release, "reddb-token")
    with port_forward(release, "service/reddb", 8082) as port:
        stored = httpx.post(
            f"http://127.0.0.1:{port}/v1/blobs",
            content=packed(BUGGY_FILES),
            headers={"Authorization": f"Bearer {token}"},
        ).raise_for_status()
    kube.apply(session("from-blob", workspace={"blob": {"sha256": stored.json()["sha256"]}}))
    done = kube.wait("agentsession", "from-blob", "Finished", seconds=300)
    assert done["status"]["result"]["outcome"] == "Solved", kube.story("agentsession", "from-blob")


def test_git_speaks_ssh(kube: Kube) -> None:
    """To a host that answers nobody: what it says of it is ssh's own, so the image has git, a shell and ssh in it."""
    kube.apply(session("by-ssh", workspace={"git": {"url": "ssh://git@127.0.0.1:1/pages.git"}}))
    stalled = condition(kube.wait("agentsession", "by-ssh", "Stalled", seconds=240), "Stalled")
    assert stalled["reason"] == "WorkspaceUnreachable", kube.story("agentsession", "by-ssh")
    assert "ssh: connect to host 127.0.0.1 port 1" in stalled["message"]


def test_a_setup_command_prepares_the_workspace(kube: Kube) -> None:
    files = {name: text for name, text in BUGGY_FILES.items() if name != "test_pages.py"}
    setup = ["python3", "-c", f"open('test_pages.py', 'w').write({BUGGY_FILES['test_pages.py']!r})"]
    workspace = {"configMapRef": {"name": "setup"}, "setup": {"command": setup, "timeoutSeconds": 30}}
    kube.apply(config_map("setup", files), session("setup", workspace=workspace))
    done = kube.wait("agentsession", "setup", "Finished", seconds=300)
    assert done["status"]["result"]["outcome"] == "Solved", kube.story("agentsession", "setup")


def test_an_interactive_session_is_ready_and_stays(kube: Kube) -> None:
    kube.apply(config_map("open", BUGGY_FILES), interactive("open"))
    ready = kube.wait("agentsession", "open", "Ready")
    assert condition(ready, "WorkspaceReady")["status"] == "True"
    assert "result" not in ready["status"]
    kube.run("delete", "agentsession", "open", "--wait=false")
    kube.run("wait", "pod/open", "--for=delete", "--timeout=60s", timeout=70)


def test_a_finished_session_is_removed_after_its_time_to_live(kube: Kube) -> None:
    kube.apply(config_map("brief", BUGGY_FILES), session("brief", lifecycle={"ttlSecondsAfterFinished": 1}))
    kube.run("wait", "agentsession/brief", "--for=delete", "--timeout=300s", timeout=310)
    kube.run("wait", "pod/brief", "--for=delete", "--timeout=60s", timeout=70)


def escaping_archive() -> Manifest:
    archive = packed({"../../outside.txt": "out"})
    data = {"workspace.tar.gz": base64.b64encode(archive).decode()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "escape"}, "binaryData": data}


CANNOT_WORK: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-pool": ({"poolRef": {"name": "nobody"}}, "PoolNotFound"),
    "missing-configmap": ({"workspace": {"configMapRef": {"name": "nobody"}}}, "ConfigMapNotFound"),
    "missing-secret": (
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "nobody", "key": "a"}}}]},
        "SecretNotFound",
    ),
    "missing-git-secret": (
        {"workspace": {"git": {"url": "https://git.invalid/a.git", "secretRef": {"name": "nobody"}}}},
        "SecretNotFound",
    ),
    "pool-required": (
        {
            "poolRef": {"name": "no-pods"},
            "pooling": "Require",
            "lifecycle": {"readyDeadlineSeconds": 5},
        },
        "WaitingForWarmPod",
    ),
    "trained-policy": ({"policy": {"trainingJobRef": {"name": "nobody"}}}, "NotImplemented"),
    "already-passes": ({"task": {"prompt": "x", "check": {"command": ["true"]}}}, "CheckAlreadyPasses"),
    "cannot-start": (
        {"task": {"prompt": "x", "check": {"command": ["no-such-program"]}}},
        "CheckCannotStart",
    ),
    "never-ends": (
        {"task": {"prompt": "x", "check": {"command": ["sleep", "1000"], "timeoutSeconds": 2}}},
        "CheckTimedOut",
    ),
    "unreachable-git": ({"workspace": {"git": {"url": "https://git.invalid/a.git"}}}, "WorkspaceUnreachable"),
    "unknown-blob": ({"workspace": {"blob": {"sha256": "0" * 64}}}, "WorkspaceUnreachable"),
    "failing-setup": (
        {"workspace": {"configMapRef": {"name": "bad"}, "setup": {"command": ["false"]}}},
        "SetupFailed",
    ),
    "escape": ({"workspace": {"configMapRef": {"name": "escape"}}}, "WorkspaceInvalid"),
    "unreachable-model": (
        {"policy": {"llm": {"endpoint": "http://model.invalid/v1", "model": "m"}}},
        "PolicyEndpointUnreachable",
    ),
}


@pytest.fixture(scope="module")
def sessions_that_cannot_work(kube: Kube) -> None:
    """All of them at once: each waits on its own, and the cluster is shared."""
    pool = {
        "apiVersion": API_VERSION,
        "kind": "AgentPool",
        "metadata": {"name": "no-pods"},
        "spec": {"replicas": 0},
    }
    kube.apply(config_map("bad", BUGGY_FILES), escaping_archive(), pool)
    for name, (spec, _) in CANNOT_WORK.items():
        kube.apply(session(name, **({"workspace": {"configMapRef": {"name": "bad"}}} | spec)))


@pytest.mark.parametrize("name", CANNOT_WORK)
@pytest.mark.usefixtures("sessions_that_cannot_work")
def test_a_spec_that_cannot_work_ends_stalled_with_a_reason(kube: Kube, name: str) -> None:
    stalled = condition(kube.wait("agentsession", name, "Stalled", seconds=240), "Stalled")
    assert stalled["reason"] == CANNOT_WORK[name][1], kube.story("agentsession", name)
    assert len(stalled["message"].split()) >= 5, "a sentence that says what to change"


def test_a_session_goes_on_by_itself_when_what_was_missing_appears(kube: Kube) -> None:
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "late", "key": "a"}}}]
    kube.apply(config_map("late", BUGGY_FILES), session("late", env=env))
    kube.wait("agentsession", "late", "Stalled")
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}, "stringData": {"a": "b"}})
    done = kube.wait("agentsession", "late", "Finished", seconds=300)
    assert done["status"]["result"]["outcome"] == "Solved", kube.story("agentsession", "late")


NOT_IMPLEMENTED = {
    "AgentPool": {"replicas": 1, "runnerOnly": True},
}


@pytest.mark.parametrize("kind", NOT_IMPLEMENTED)
def test_what_is_not_implemented_says_so(kube: Kube, kind: str) -> None:
    spec = NOT_IMPLEMENTED[kind]
    kube.apply({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "later"}, "spec": spec})
    assert condition(kube.wait(kind.lower(), "later", "Stalled"), "Stalled")["reason"] == "NotImplemented"


def test_a_language_model_repairs_through_an_openai_compatible_endpoint(
    kube: Kube, scripted_model: str
) -> None:
    policy = {
        "llm": {
            "endpoint": scripted_model,
            "model": "scripted",
            "apiKeySecretRef": {"name": "model-key", "key": "key"},
        }
    }
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "model-key"},
            "stringData": {"key": "secret-key"},
        },
        config_map("by-model", BUGGY_FILES),
        session("by-model", policy=policy),
    )
    done = kube.wait("agentsession", "by-model", "Finished", seconds=300)
    assert done["status"]["result"]["outcome"] == "Solved", kube.story("agentsession", "by-model")
    assert done["status"]["result"]["tokens"] > 0
    logs = kube.run("logs", "by-model", "--all-containers")
    assert "secret-key" not in logs + json.dumps(done)


def test_the_example_check_fails_before_any_change() -> None:
    """Guards the tests themselves: the bug that they repair is there."""
    program = BUGGY_FILES["pages.py"]
    scope: dict[str, object] = {}
    exec(compile(program, "pages.py", "exec"), scope)  # noqa: S102 -- our own fixture
    page_count = scope["page_count"]
    assert callable(page_count)
    assert page_count(21, 10) == 2
    assert PYTEST[-1] == "test_pages.py"


def test_a_suspended_session_gives_its_pod_back_and_goes_on(kube: Kube) -> None:
    kube.apply(config_map("rests", BUGGY_FILES), interactive("rests"))
    kube.wait("agentsession", "rests", "Ready", seconds=240)
    for mode, reached in (("Suspended", "Suspended"), ("Running", "Ready")):
        kube.run("patch", "ags", "rests", "--type=merge", f'--patch={{"spec":{{"operatingMode":"{mode}"}}}}')
        kube.wait("agentsession", "rests", reached, seconds=240)
        if mode == "Suspended":
            kube.run("wait", "pod/rests", "--for=delete", "--timeout=60s", timeout=70)
    status = kube.get("agentsession", "rests")["status"]
    assert (status["attempts"], status["suspensions"]) == (2, 1), kube.story("agentsession", "rests")
    kube.run("delete", "agentsession", "rests", "--wait=false")
