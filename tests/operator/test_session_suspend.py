"""Suspended sessions give their pods back, and go on later, on a real apiserver with a played kubelet."""

from __future__ import annotations

from tests.operator.fake_kubelet import FakeKubelet, report
from tests.operator.kube import Kube, Object, condition
from tests.operator.process import OperatorProcess

TASK = {"prompt": "fix it", "check": {"command": ["pytest", "-q"]}}
ROUNDS = 8  # more than the pods that a session may lose


def set_mode(kube: Kube, mode: str) -> None:
    kube.patch("agentsessions", "fix", {"spec": {"operatingMode": mode}})


def suspend(kube: Kube) -> Object:
    """Suspends the session; the played kubelet lets its pod go."""
    set_mode(kube, "Suspended")
    kube.until("pods", "fix", lambda pod: pod is None or "deletionTimestamp" in pod["metadata"])
    if kube.get("pods", "fix") is not None:
        kube.delete("pods", "fix")
    return kube.until_condition("agentsessions", "fix", "Suspended", "Suspended")


def test_a_suspended_session_goes_on_later(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.session("fix", task=TASK)
    for number in range(1, ROUNDS + 1):
        kubelet.start("fix")
        session = kube.until_condition("agentsessions", "fix", "Ready")
        assert session["status"]["attempts"] == number
        status = suspend(kube)["status"]
        assert status["phase"] == "Suspended"
        assert (status["attempts"], status["suspensions"]) == (number, number)
        assert {"podName", "endpoint"}.isdisjoint(status)
        assert kube.get("pods", "fix") is None
        set_mode(kube, "Running")
    kubelet.start("fix")
    session = kube.until_condition("agentsessions", "fix", "Ready")
    assert condition(session, "Suspended")["status"] == "False"
    kubelet.finish("fix", report())
    assert kube.until_condition("agentsessions", "fix", "Finished")["status"]["phase"] == "Solved"


def test_a_session_that_begins_suspended_has_no_pod(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.session("fix", task=TASK, operatingMode="Suspended")
    session = kube.until_condition("agentsessions", "fix", "Suspended", "Suspended")
    assert "startTime" not in session["status"]
    assert kube.list("pods") == []
    set_mode(kube, "Running")
    kubelet.start("fix")
    kube.until_condition("agentsessions", "fix", "Ready")


def test_a_killed_operator_counts_a_suspension_once(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.session("fix", task=TASK)
    kubelet.start("fix")
    kube.until_condition("agentsessions", "fix", "Ready")
    suspend(kube)
    operator.kill()
    operator.start()
    set_mode(kube, "Running")
    kubelet.start("fix")
    status = kube.until_condition("agentsessions", "fix", "Ready")["status"]
    assert (status["attempts"], status["suspensions"]) == (2, 1)
