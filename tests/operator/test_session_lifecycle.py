"""An AgentSession from create to its end, on a real apiserver with a played kubelet."""

from __future__ import annotations

import base64

import pytest

from tests.operator.fake_kubelet import FakeKubelet, pod_condition, report, running, terminated, waiting
from tests.operator.kube import Kube, Object, condition
from tests.operator.process import OperatorProcess

TASK = {"prompt": "fix it", "check": {"command": ["pytest", "-q"]}}


def solve(kube: Kube, name: str = "fix") -> Object:
    return kube.session(name, task=TASK, policy={"search": {}}, workspace={"empty": {}})


def ready(kube: Kube, kubelet: FakeKubelet, name: str = "fix") -> None:
    kubelet.start(name)
    kube.until_condition("agentsessions", name, "Ready")


def test_solved_in_four_writes(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    solve(kube)
    kube.until_condition("agentsessions", "fix", "Reconciling")
    ready(kube, kubelet)
    at_work = kube.get("agentsessions", "fix")
    assert at_work is not None
    assert at_work["status"]["endpoint"] == "http://10.0.0.7:9000"
    kubelet.finish("fix", report())
    session = kube.until_condition("agentsessions", "fix", "Finished", "CheckPassed")

    status = session["status"]
    assert status["phase"] == "Solved"
    assert status["podName"] == "fix"
    assert status["nodeName"] == "node-1"
    assert status["launchType"] == "Cold"
    assert status["policy"] == "Search"
    assert status["attempts"] == 1
    assert "endpoint" not in status
    assert status["observedGeneration"] == session["metadata"]["generation"]
    assert status["result"] == {
        "outcome": "Solved",
        "reason": "CheckPassed",
        "summary": "The check passes.",
        "checkExitCode": 0,
        "patchRef": f"reddb://blobs/sha256/{'a' * 64}",
        "turns": 3,
        "tokens": 0,
        "seconds": 1.5,
    }
    assert status["startTime"] <= status["readyTime"] <= status["finishTime"]
    # With the scheduler's binding and its Event that makes six per cold session.
    assert operator.writes() == {("create", "pods"): 1, ("patch", "agentsessions/status"): 3}
    assert "annotations" not in session["metadata"]
    assert "finalizers" not in session["metadata"]


def test_interactive_session_stays_ready(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.session("talk", policy={"llm": {"endpoint": "http://llm.example", "model": "m"}})
    ready(kube, kubelet, "talk")
    kubelet.finish("talk", "")
    session = kube.until_condition("agentsessions", "talk", "Finished", "AgentExited")
    assert "result" not in session["status"]


def test_unreadable_reports(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess, subtests: pytest.Subtests
) -> None:
    for number, message in enumerate(["", "no json", "{}", '{"outcome":"Won"}', "[" * 2000, "\u0000"]):
        with subtests.test(message=message):
            solve(kube, f"fix-{number}")
            ready(kube, kubelet, f"fix-{number}")
            kubelet.finish(f"fix-{number}", message)
            session = kube.until_condition("agentsessions", f"fix-{number}", "Finished", "AgentReportInvalid")
            assert session["status"]["result"]["outcome"] == "Error"


def test_deleted_pod_is_recreated(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    solve(kube)
    ready(kube, kubelet)
    first = kubelet.pod("fix")["metadata"]["uid"]
    kube.delete("pods", "fix")
    second = kube.until("pods", "fix", lambda pod: pod is not None and pod["metadata"]["uid"] != first)
    assert second is not None
    assert second["metadata"]["annotations"]["dspyagent.io/attempt"] == "2"
    ready(kube, kubelet)
    kubelet.finish("fix", report())
    kube.until_condition("agentsessions", "fix", "Finished", "CheckPassed")


def test_evicted_pod_is_replaced(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    solve(kube)
    ready(kube, kubelet)
    first = kubelet.pod("fix")["metadata"]["uid"]
    kubelet.evict("fix")
    kube.until("pods", "fix", lambda pod: pod is not None and pod["metadata"]["uid"] != first)
    ready(kube, kubelet)


def test_agent_that_was_told_to_stop_has_not_finished(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    solve(kube)
    ready(kube, kubelet)
    kubelet.status("fix", phase="Failed", reason="Evicted", containerStatuses=[terminated("agent", 0, "")])
    second = kube.until(
        "pods",
        "fix",
        lambda pod: pod is not None and pod["metadata"]["annotations"]["dspyagent.io/attempt"] == "2",
    )
    assert second is not None


def test_out_of_memory_is_told_and_survived(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    solve(kube)
    ready(kube, kubelet)
    killed = terminated("agent", 137, reason="OOMKilled")
    crashed = waiting("agent", "CrashLoopBackOff", "back-off", restartCount=1, lastState=killed["state"])
    conditions = [pod_condition("PodScheduled", "True"), pod_condition("Ready", "False")]
    kubelet.status("fix", conditions=conditions, containerStatuses=[crashed])
    session = kube.until(
        "agentsessions", "fix", lambda seen: condition(seen, "Ready").get("reason") == "AgentRestarting"
    )
    assert "OOMKilled (exit code 137)" in condition(session, "Ready")["message"]
    again = running("agent", restartCount=1, lastState=killed["state"])
    conditions = [pod_condition("PodScheduled", "True"), pod_condition("Ready", "True")]
    kubelet.status("fix", conditions=conditions, containerStatuses=[again])
    session = kube.until_condition("agentsessions", "fix", "Ready")
    assert "restarted 1 times, last for OOMKilled" in condition(session, "Ready")["message"]


def test_agent_that_crashes_for_ever(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    solve(kube)
    ready(kube, kubelet)
    killed = terminated("agent", 137, reason="OOMKilled")
    crashed = waiting("agent", "CrashLoopBackOff", "back-off", restartCount=6, lastState=killed["state"])
    kubelet.status("fix", conditions=[pod_condition("Ready", "False")], containerStatuses=[crashed])
    session = kube.until_condition("agentsessions", "fix", "Finished", "InfraError")
    assert "OOMKilled" in session["status"]["result"]["summary"]
    # Bound to a node that does not exist, the pod waits for a kubelet to confirm: asked to go is what can be seen.
    kube.until("pods", "fix", lambda pod: pod is None or "deletionTimestamp" in pod["metadata"])


def test_ttl_deletes_the_session(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.session("short", task=TASK, policy={"search": {}}, lifecycle={"ttlSecondsAfterFinished": 1})
    ready(kube, kubelet, "short")
    kubelet.finish(
        "short", report(outcome="Unsolved", reason="BudgetExhausted", checkExitCode=1, patchRef=None)
    )
    kube.until("agentsessions", "short", lambda seen: seen is None)


def test_shutdown_time_ends_the_session(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    solve(kube)
    ready(kube, kubelet)
    kube.patch("agentsessions", "fix", {"spec": {"lifecycle": {"shutdownTime": "2020-01-01T00:00:00Z"}}})
    session = kube.until_condition("agentsessions", "fix", "Finished", "ShutdownTimeReached")
    assert session["status"]["result"]["outcome"] == "Unsolved"


def test_deleted_session_is_left_alone(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    solve(kube)
    ready(kube, kubelet)
    pod = kubelet.pod("fix")
    owner = pod["metadata"]["ownerReferences"][0]
    kube.delete("agentsessions", "fix")
    kube.delete("pods", "fix")  # what the garbage collector does, by this reference
    assert (owner["kind"], owner["controller"]) == ("AgentSession", True)
    solve(kube, "other")  # a whole later pass: the deleted one's events are long handled
    ready(kube, kubelet, "other")
    assert kube.get("pods", "fix") is None


def test_pod_carries_the_session_unchanged(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    task = {"prompt": "replace $$ and $(HOME) by $HOME", "check": {"command": ["true"]}}
    kube.session("raw", task=task, policy={"search": {}})
    agent = kubelet.pod("raw")["spec"]["containers"][0]
    value = next(v["value"] for v in agent["env"] if v["name"] == "DSPY_AGENT_SESSION")
    assert "replace $$$$ and $$(HOME) by $$HOME" in value  # the kubelet folds each pair into one
    token = next(v["value"] for v in agent["env"] if v["name"] == "DSPY_AGENT_REDDB_TOKEN")
    prefix = base64.urlsafe_b64decode(token.split(".")[1] + "==").decode()
    assert prefix.startswith(f"session/{kube.namespace}/raw/")


def test_pod_without_a_memory_limit_takes_the_nodes(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.session("large", template={"resources": {"requests": {"memory": "1Gi"}}})
    runner = kubelet.pod("large")["spec"]["initContainers"][1]
    limit = next(each for each in runner["env"] if each["name"] == "RUNNER_MAX_MEMORY_BYTES")
    assert limit["valueFrom"]["resourceFieldRef"]["resource"] == "limits.memory"
