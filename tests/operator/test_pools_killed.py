"""Pools under bad luck, on a real apiserver: an operator that ends in between, one that is quicker, pods that fail."""

from __future__ import annotations

import threading

from tests.operator.fake_kubelet import pod_condition, waiting
from tests.operator.kube import Kube, Object, condition
from tests.operator.process import OperatorProcess
from tests.operator.test_pools import SOLVE, until_status
from tests.operator.warm_pods import WarmPods


def test_killed_between_claim_and_status(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    """Killed while the agent has the request and has not answered: it is bound, and nobody heard of it."""
    kube.pool("pool", replicas=1)
    (name,) = warm.start("pool", 1)
    until_status(kube, "pool", ready=1)
    agent = warm.agents[name]
    agent.may_answer.clear()
    kube.session("fix", **SOLVE)
    assert agent.asked.acquire(timeout=20)
    operator.kill()
    assert "status" not in (kube.get("agentsessions", "fix") or {})
    agent.may_answer.set()
    operator.start()
    session = kube.until_condition("agentsessions", "fix", "Ready")
    assert (session["status"]["podName"], session["status"]["launchType"]) == (name, "Warm")
    assert len(agent.requests) == 2
    assert operator.writes()["patch", "agentsessions/status"] == 1
    assert ("patch", "pods") not in operator.writes()


def test_killed_between_claim_and_bind(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    """The pod bears the session's name, and its agent knows nothing of it."""
    kube.pool("pool", replicas=1)
    (name,) = warm.start("pool", 1)
    until_status(kube, "pool", ready=1)
    operator.kill()
    session = kube.session("fix", **SOLVE)
    claim(kube, name, session)
    operator.start()
    session = kube.until_condition("agentsessions", "fix", "Ready")
    assert (session["status"]["podName"], session["status"]["launchType"]) == (name, "Warm")
    assert len(warm.agents[name].requests) == 1


def test_another_client_claims_at_the_same_time(
    kube: Kube, warm: WarmPods, operator: OperatorProcess
) -> None:
    """Sessions start while somebody else takes pods away: none is given twice, and nobody waits for ever."""
    kube.pool("pool", replicas=6)
    warm.start("pool", 3)  # no more before one of them is ready
    names = warm.start("pool", 6)
    until_status(kube, "pool", ready=6)
    other = kube.session("other", pooling="Never", **SOLVE)
    threads = [threading.Thread(target=claim, args=(kube, name, other)) for name in names[:3]]
    sessions = [f"fix-{number}" for number in range(6)]
    threads += [threading.Thread(target=kube.session, args=(name,), kwargs=SOLVE) for name in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in sessions:
        seen = kube.until("agentsessions", name, lambda seen: "podName" in (seen or {}).get("status", {}))
        assert seen is not None
    pods = [kube.get("agentsessions", name) for name in sessions]
    taken = [str((pod or {})["status"]["podName"]) for pod in pods]
    assert len(set(taken)) == len(taken)
    for name, agent in warm.agents.items():
        uids = {request["session"]["metadata"]["uid"] for request in agent.requests}
        assert len(uids) <= 1, name


def test_restart_makes_no_pods(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    """An operator that knew the pool before its pods would create them all once more."""
    kube.pool("pool", replicas=3)
    names = warm.start("pool", 3)
    until_status(kube, "pool", ready=3)
    operator.kill()
    operator.start()
    kube.session("fix", **SOLVE)
    kube.until_condition("agentsessions", "fix", "Ready")
    left = warm.start("pool", 3)
    assert len(set(left) & set(names)) == 2
    assert operator.writes()["create", "pods"] == 1


def test_template_that_cannot_be_pulled(kube: Kube, warm: WarmPods, operator: OperatorProcess) -> None:
    kube.pool("pool", replicas=20, template={"image": "nowhere/none"})
    words = 'Back-off pulling image "nowhere/none"'
    for pod in warm.exist("pool", 3):
        name = pod["metadata"]["name"]
        warm.kubelet.bind(name)
        status = waiting("runner", "ImagePullBackOff", words)
        warm.kubelet.status(
            name, conditions=[pod_condition("PodScheduled", "True")], initContainerStatuses=[status]
        )
    pool = kube.until_condition("agentpools", "pool", "Stalled", "ImagePullFailed")
    assert words in condition(pool, "Stalled")["message"]
    assert len(warm.exist("pool", 3)) == 3
    kube.patch("agentpools", "pool", {"spec": {"replicas": 3, "template": {"image": "python:3.12"}}})
    kube.until_list("pods", "dspyagent.io/pool=pool", lambda pods: images(warm, pods) == ["python:3.12"] * 3)
    warm.start("pool", 3)
    kube.until_condition("agentpools", "pool", "Ready")


def images(warm: WarmPods, pods: list[Object]) -> list[str]:
    return [pod["spec"]["initContainers"][1]["image"] for pod in warm.staying(pods)]


def claim(kube: Kube, pod: str, session: Object) -> None:
    """What another replica of the operator does; nothing where it comes too late."""
    seen = kube.get("pods", pod)
    assert seen is not None
    if "dspyagent.io/pool" not in seen["metadata"]["labels"]:
        return
    owner = {
        "apiVersion": "dspyagent.io/v1alpha1",
        "kind": "AgentSession",
        "name": session["metadata"]["name"],
        "uid": session["metadata"]["uid"],
        "controller": True,
    }
    change = {
        "metadata": {
            "resourceVersion": seen["metadata"]["resourceVersion"],
            "labels": {"dspyagent.io/pool": None, "dspyagent.io/claimed-from": "pool"},
            "annotations": {"dspyagent.io/attempt": "1"},
            "ownerReferences": [owner],
        }
    }
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = kube.http.patch(kube.path("pods", pod), json=change, headers=headers)
    assert answer.status_code in (200, 409), answer.text
