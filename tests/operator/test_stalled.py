"""Specs that cannot work end Stalled, with a reason and a sentence that says what to change."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operator.fake_kubelet import FakeKubelet, pod_condition, terminated, waiting
from tests.operator.kube import Kube, Object, condition
from tests.operator.process import OperatorProcess

TASK = {"prompt": "fix it", "check": {"command": ["true"]}}
SEARCH = {"task": TASK, "policy": {"search": {}}}
LLM = {"endpoint": "http://llm.example", "model": "m"}
KEY = {"name": "absent", "key": "token"}
GIT = {"url": "https://git.example/r.git", "secretRef": {"name": "absent"}}


SESSIONS: list[tuple[dict[str, Any], str, str]] = [
    ({**SEARCH, "poolRef": {"name": "absent"}}, "PoolNotFound", "create it"),
    ({**SEARCH, "poolRef": {"name": "absent"}, "pooling": "Require"}, "PoolNotFound", "create it"),
    (
        {**SEARCH, "env": [{"name": "A", "valueFrom": {"secretKeyRef": KEY}}]},
        "SecretNotFound",
        "spec.env[A]",
    ),
    ({**SEARCH, "envFrom": [{"secretRef": {"name": "absent"}}]}, "SecretNotFound", "spec.envFrom[0]"),
    (
        {**SEARCH, "envFrom": [{"configMapRef": {"name": "absent"}}]},
        "ConfigMapNotFound",
        "spec.envFrom[0]",
    ),
    ({**SEARCH, "workspace": {"configMapRef": {"name": "absent"}}}, "ConfigMapNotFound", "create it"),
    ({**SEARCH, "workspace": {"git": GIT}}, "SecretNotFound", "spec.workspace.git.secretRef"),
    ({"policy": {"llm": {**LLM, "apiKeySecretRef": KEY}}}, "SecretNotFound", "apiKeySecretRef"),
    ({"policy": {"trainingJobRef": {"name": "t"}}}, "NotImplemented", "trainingJobRef"),
    ({**SEARCH, "storage": "Dedicated"}, "NotImplemented", "spec.storage"),
    ({**SEARCH, "approval": "Edits"}, "NotImplemented", "spec.approval"),
    ({**SEARCH, "workspace": {"persistent": {"size": "1Gi"}}}, "NotImplemented", "persistent"),
    ({**SEARCH, "lifecycle": {"idleTimeoutSeconds": 60}}, "NotImplemented", "idleTimeoutSeconds"),
    (
        {**SEARCH, "network": {"egress": {"mode": "Allow", "hosts": ["example.org"]}}},
        "NotImplemented",
        "spec.network.egress.hosts",
    ),
]
TASKS: list[tuple[dict[str, Any], str]] = [
    ({"execution": "Pool", "poolRef": {"name": "p"}}, "spec.execution"),
    ({"inputs": [{"path": "a", "blob": {"sha256": "0" * 64}}]}, "spec.inputs"),
]


def test_sessions_stall(kube: Kube, operator: OperatorProcess, subtests: pytest.Subtests) -> None:
    for number, (spec, _, _) in enumerate(SESSIONS):
        kube.session(f"stuck-{number}", **spec)
    for number, (spec, reason, said) in enumerate(SESSIONS):
        with subtests.test(spec=spec):
            session = kube.until_condition("agentsessions", f"stuck-{number}", "Stalled", reason)
            assert said in condition(session, "Stalled")["message"]
            assert session["status"]["phase"] == "Stalled"
            told = [
                e["reason"] for e in kube.list("events") if e["involvedObject"]["name"] == f"stuck-{number}"
            ]
            assert told == [reason]
    assert kube.list("pods") == []


def test_tasks_stall(kube: Kube, operator: OperatorProcess, subtests: pytest.Subtests) -> None:
    for number, (spec, _) in enumerate(TASKS):
        kube.task(f"stuck-{number}", command=["true"], **spec)
    for number, (spec, field) in enumerate(TASKS):
        with subtests.test(spec=spec):
            task = kube.until_condition("envtasks", f"stuck-{number}", "Stalled", "NotImplemented")
            assert field in condition(task, "Stalled")["message"]


@pytest.mark.parametrize(
    ("plural", "kind", "spec"),
    [("agentpools", "AgentPool", {"replicas": 1, "runnerOnly": True})],
)
def test_what_is_not_implemented_says_so(
    kube: Kube, operator: OperatorProcess, plural: str, kind: str, spec: Object
) -> None:
    header = {"apiVersion": "dspyagent.io/v1alpha1", "kind": kind, "metadata": {"name": "early"}}
    kube.create(plural, {**header, "spec": spec})
    seen = kube.until_condition(plural, "early", "Stalled", "NotImplemented")
    assert seen["status"]["observedGeneration"] == seen["metadata"]["generation"]
    assert seen["status"]["phase"] == "Stalled"
    if plural == "agentpools":
        scale = kube.http.get(kube.path(plural, "early") + "/scale").json()
        assert scale["status"] == {"replicas": 0, "selector": "dspyagent.io/pool=early"}
    assert operator.writes()["patch", f"{plural}/status"] == 1


def test_missing_pool_appears(kube: Kube, operator: OperatorProcess) -> None:
    kube.session("waits", **SEARCH, poolRef={"name": "late"})
    kube.until_condition("agentsessions", "waits", "Stalled", "PoolNotFound")
    header = {"apiVersion": "dspyagent.io/v1alpha1", "kind": "AgentPool", "metadata": {"name": "late"}}
    kube.create("agentpools", {**header, "spec": {"replicas": 0, "template": {"image": "python:3.12"}}})
    pod = kube.until("pods", "waits", lambda seen: seen is not None)
    assert pod is not None
    assert pod["spec"]["initContainers"][1]["image"] == "python:3.12"
    kube.until_condition("agentsessions", "waits", "Reconciling")


def test_missing_secret_appears(kube: Kube, operator: OperatorProcess) -> None:
    kube.session("waits", **SEARCH, envFrom=[{"secretRef": {"name": "absent"}}])
    kube.until_condition("agentsessions", "waits", "Stalled", "SecretNotFound")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "absent"}}
    kube.create("secrets", secret)
    kube.until_condition("agentsessions", "waits", "Reconciling")


def test_secret_without_the_key(kube: Kube, operator: OperatorProcess) -> None:
    kube.create("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "absent"}})
    kube.session("waits", policy={"llm": {**LLM, "apiKeySecretRef": KEY}})
    session = kube.until_condition("agentsessions", "waits", "Stalled", "SecretNotFound")
    assert "Secret absent has no key token" in condition(session, "Stalled")["message"]


def test_pod_of_somebody_else_is_not_touched(kube: Kube, operator: OperatorProcess) -> None:
    container = {"name": "c", "image": "i"}
    kube.create(
        "pods",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "taken"},
            "spec": {"containers": [container]},
        },
    )
    kube.session("taken", **SEARCH)
    kube.until_condition("agentsessions", "taken", "Stalled", "PodNameTaken")
    pod = kube.get("pods", "taken")
    assert pod is not None
    assert "ownerReferences" not in pod["metadata"]


def test_refused_pod_shows_the_quota(kube: Kube, operator: OperatorProcess) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    kube.create("resourcequotas", quota)
    # Without a controller manager nobody computes the quota's status, which admission reads.
    kube.patch("resourcequotas", "none", {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}, "status")
    kube.session("refused", **SEARCH)
    session = kube.until_condition("agentsessions", "refused", "Stalled", "PodRefused")
    assert "exceeded quota: none" in condition(session, "Stalled")["message"]


def test_image_that_cannot_be_pulled(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.session("pulls", **SEARCH)
    kubelet.pod("pulls")
    kubelet.bind("pulls")
    back_off = waiting("runner", "ImagePullBackOff", 'Back-off pulling image "nowhere/none"')
    kubelet.status(
        "pulls", conditions=[pod_condition("PodScheduled", "True")], initContainerStatuses=[back_off]
    )
    session = kube.until_condition("agentsessions", "pulls", "Stalled", "ImagePullFailed")
    assert (
        'Container runner: Back-off pulling image "nowhere/none"' in condition(session, "Stalled")["message"]
    )
    kubelet.start("pulls")
    session = kube.until_condition("agentsessions", "pulls", "Ready")
    assert condition(session, "Stalled")["status"] == "False"


def test_runner_that_cannot_run_in_the_image(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.session("crashes", **SEARCH)
    kubelet.pod("crashes")
    kubelet.bind("crashes")
    last = terminated("runner", 1, "exec format error")["state"]
    crashed = waiting("runner", "CrashLoopBackOff", "back-off 10s", lastState=last, restartCount=2)
    kubelet.status(
        "crashes", conditions=[pod_condition("PodScheduled", "True")], initContainerStatuses=[crashed]
    )
    session = kube.until_condition("agentsessions", "crashes", "Stalled", "ContainerCrashLooping")
    assert "exec format error" in condition(session, "Stalled")["message"]


def test_unschedulable_within_the_deadline(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.session("big", **SEARCH, lifecycle={"readyDeadlineSeconds": 1})
    kubelet.pod("big")
    words = "0/1 nodes are available: 1 Insufficient memory."
    kubelet.status(
        "big", conditions=[pod_condition("PodScheduled", "False", reason="Unschedulable", message=words)]
    )
    session = kube.until_condition("agentsessions", "big", "Stalled", "Unschedulable")
    assert words in condition(session, "Stalled")["message"]
    assert condition(session, "Scheduled")["message"] == words
