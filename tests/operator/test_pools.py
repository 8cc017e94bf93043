"""AgentPools and warm sessions on a real apiserver, with a played kubelet and stand-ins for the pods' agents."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from tests.operator.fake_kubelet import report
from tests.operator.kube import Kube, Object, condition
from tests.operator.process import OperatorProcess
from tests.operator.warm_pods import WarmPods

TASK = {"prompt": "fix it", "check": {"command": ["true"]}}
SOLVE = {"task": TASK, "policy": {"search": {}}, "poolRef": {"name": "pool"}}


EXAMPLE = Path(__file__).parents[2] / "examples" / "warm-pool.yaml"


def until_status(kube: Kube, name: str, **wanted: int) -> Object:
    def holds(seen: Object | None) -> bool:
        status = (seen or {}).get("status", {})
        return all(status.get(field) == value for field, value in wanted.items())

    pool = kube.until("agentpools", name, holds)
    assert pool is not None
    return pool


def test_pool_keeps_its_pods_ready(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    kube.pool("pool", replicas=2, template={"image": "python:3.12"})
    names = warm.start("pool", 2)
    pool = kube.until_condition("agentpools", "pool", "Ready", "PodsReady")
    assert pool["status"]["phase"] == "Ready"
    until_status(kube, "pool", replicas=2, ready=2, pending=0, claimed=0)
    scale = kube.http.get(kube.path("agentpools", "pool") + "/scale").json()
    assert scale["status"] == {"replicas": 2, "selector": "dspyagent.io/pool=pool"}
    kube.delete("pods", names[0])
    again = warm.start("pool", 2)
    assert names[1] in again
    assert names[0] not in again


def test_warm_session_in_four_writes(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    kube.create("secrets", {"metadata": {"name": "s"}, "data": {"KEY": base64.b64encode(b"hidden").decode()}})
    kube.create("configmaps", {"metadata": {"name": "files"}, "data": {"a.txt": "text"}})
    kube.pool("pool", replicas=1)
    (name,) = warm.start("pool", 1)
    until_status(kube, "pool", ready=1)
    before = operator.writes()
    kube.session(
        "fix",
        **SOLVE,
        workspace={"configMapRef": {"name": "files"}},
        env=[{"name": "GREETING", "value": "$(P_KEY)!"}],
        envFrom=[{"secretRef": {"name": "s"}, "prefix": "P_"}],
    )
    session = kube.until_condition("agentsessions", "fix", "Ready")
    assert session["status"]["launchType"] == "Warm"
    assert session["status"]["podName"] == name
    assert session["status"]["endpoint"] == f"http://{warm.agents[name].address}:9000"
    grown = {key: count - before.get(key, 0) for key, count in operator.writes().items()}
    assert grown.pop(("create", "pods"), 0) <= 1  # the next warm pod, behind the session
    assert grown.pop(("patch", "agentpools/status"), 0) <= 1
    assert {key: count for key, count in grown.items() if count} == {
        ("patch", "pods"): 1,
        ("patch", "agentsessions/status"): 1,
    }

    (request,) = warm.agents[name].requests
    assert request["session"]["metadata"] == {
        "namespace": kube.namespace,
        "name": "fix",
        "uid": session["metadata"]["uid"],
    }
    assert request["session"]["spec"] == session["spec"]
    assert request["environment"] == [
        {"name": "P_KEY", "value": "hidden"},
        {"name": "GREETING", "value": "hidden!"},
    ]
    assert request["workspaceSource"] == {"a.txt": base64.b64encode(b"text").decode()}
    assert request["gitSecret"] is None
    assert request["llmApiKey"] is None

    pod = kube.get("pods", name)
    assert pod is not None
    assert pod["metadata"]["labels"]["dspyagent.io/claimed-from"] == "pool"
    assert pod["metadata"]["labels"]["dspyagent.io/session"] == "fix"
    assert "dspyagent.io/pool" not in pod["metadata"]["labels"]
    assert [each["name"] for each in pod["metadata"]["ownerReferences"]] == ["fix"]
    assert "hidden" not in str(pod)
    assert "hidden" not in str(session)
    assert "hidden" not in str(kube.list("events"))
    warm.start("pool", 1)
    until_status(kube, "pool", ready=1, claimed=1)
    warm.kubelet.finish(name, report())
    finished = kube.until_condition("agentsessions", "fix", "Finished", "CheckPassed")
    assert finished["status"]["launchType"] == "Warm"
    until_status(kube, "pool", ready=1, claimed=0)


def test_the_example(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    pool, session = yaml.safe_load_all(EXAMPLE.read_text())
    kube.create("agentpools", pool)
    warm.start("warm", 2)
    kube.create("agentsessions", session)
    seen = kube.until_condition("agentsessions", "from-warm-pool", "Ready")
    assert seen["status"]["launchType"] == "Warm"


def test_cold_where_no_pod_is_free(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    kube.pool("pool", replicas=0)
    until_status(kube, "pool", replicas=0)
    kube.session("fix", **SOLVE)
    warm.kubelet.start("fix")
    session = kube.until_condition("agentsessions", "fix", "Ready")
    assert session["status"]["launchType"] == "Cold"
    assert session["status"]["launchReason"] == "AgentPool pool had no free warm pod."


def test_pooling_never_starts_cold(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    kube.pool("pool", replicas=1)
    warm.start("pool", 1)
    until_status(kube, "pool", ready=1)
    kube.session("fix", **SOLVE, pooling="Never")
    warm.kubelet.start("fix")
    session = kube.until_condition("agentsessions", "fix", "Ready")
    assert session["status"]["launchType"] == "Cold"
    assert "launchReason" not in session["status"]


def test_required_pod_is_waited_for(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    kube.pool("pool", replicas=0)
    for name in ("first", "second"):
        kube.session(name, **SOLVE, pooling="Require")
        kube.until_condition("agentsessions", name, "Reconciling", "WaitingForWarmPod")
    scaled = {"spec": {"replicas": 1}}
    kube.patch("agentpools", "pool", scaled, "scale")
    warm.start("pool", 1)
    session = kube.until_condition("agentsessions", "first", "Ready")
    assert session["status"]["launchType"] == "Warm"
    assert condition(kube.get("agentsessions", "second"), "Ready")["reason"] == "WaitingForWarmPod"
    warm.start("pool", 1)
    kube.until_condition("agentsessions", "second", "Ready")


def test_required_pod_that_does_not_come(kube: Kube, operator: OperatorProcess) -> None:
    kube.pool("pool", replicas=0)
    kube.session("fix", **SOLVE, pooling="Require", lifecycle={"readyDeadlineSeconds": 1})
    session = kube.until_condition("agentsessions", "fix", "Stalled", "WaitingForWarmPod")
    assert "spec.replicas" in condition(session, "Stalled")["message"]


def test_scaled_and_changed(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    kube.pool("pool", replicas=3)
    first = warm.start("pool", 3)
    until_status(kube, "pool", ready=3)
    kube.patch("agentpools", "pool", {"spec": {"replicas": 1}}, "scale")
    (kept,) = warm.start("pool", 1)
    assert kept in first
    kube.patch("agentpools", "pool", {"spec": {"template": {"image": "python:3.13"}}})
    new = kube.until_list(
        "pods",
        "dspyagent.io/pool=pool",
        lambda pods: [p["spec"]["initContainers"][1]["image"] for p in warm.staying(pods)] == ["python:3.13"],
    )
    assert kept not in [pod["metadata"]["name"] for pod in warm.staying(new)]
