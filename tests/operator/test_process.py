"""The operator as a process: killed, stopped, replaced, idle; what it says on its port."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.charts.apiserver import Apiserver
from tests.operator.fake_kubelet import FakeKubelet, report, result
from tests.operator.kube import Kube, Object
from tests.operator.process import OperatorProcess

SOLVE = {"task": {"prompt": "fix", "check": {"command": ["true"]}}, "policy": {"search": {}}}


def leads(kube: Kube, identity: str) -> Object:
    """Waits until the Lease names that replica."""

    def holds(lease: Object | None) -> bool:
        return lease is not None and lease["spec"]["holderIdentity"] == identity

    lease = kube.until("leases", "dspy-operator", holds)
    assert lease is not None
    return lease


def test_killed_while_a_session_starts(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.session("fix", **SOLVE)
    pod = kubelet.pod("fix")
    operator.kill()
    kubelet.start("fix")
    operator.start()
    kube.until_condition("agentsessions", "fix", "Ready")
    operator.kill()
    kubelet.finish("fix", report())
    operator.start()
    kube.until_condition("agentsessions", "fix", "Finished", "CheckPassed")
    assert kubelet.pod("fix")["metadata"]["uid"] == pod["metadata"]["uid"]
    assert ("create", "pods") not in operator.writes()


def test_pod_lost_while_the_operator_is_dead(
    kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    kube.session("fix", **SOLVE)
    kubelet.start("fix")
    kube.until_condition("agentsessions", "fix", "Ready")
    operator.kill()
    kube.delete("pods", "fix")
    operator.start()
    kubelet.start("fix")
    kubelet.finish("fix", report())
    session = kube.until_condition("agentsessions", "fix", "Finished", "CheckPassed")
    assert session["status"]["attempts"] == 2


def test_task_attempts_survive_a_kill(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.task("run", command=["false"], backoffLimit=1)
    kubelet.run_task("run-1")
    operator.kill()
    kubelet.end_task("run-1", 1, result(exit_code=1, reason="NonZeroExit"))
    operator.start()
    kubelet.run_task("run-2")
    operator.kill()
    kubelet.end_task("run-2", 1, result(exit_code=1, reason="NonZeroExit"))
    operator.start()
    task = kube.until_condition("envtasks", "run", "Failed", "NonZeroExit")
    assert (task["status"]["attempts"], task["status"]["failed"]) == (2, 2)
    assert kube.get("pods", "run-3") is None


def test_follower_takes_over_after_a_kill(
    apiserver: Apiserver, kube: Kube, kubelet: FakeKubelet, tmp_path: Path
) -> None:
    first = OperatorProcess(apiserver.kubeconfig, kube.namespace, tmp_path, name="first", lease_s=2)
    second = OperatorProcess(apiserver.kubeconfig, kube.namespace, tmp_path, name="second", lease_s=2)
    first.start()
    leads(kube, "first")
    kube.session("fix", **SOLVE)
    pod = kubelet.pod("fix")
    with second:
        first.kill()
        assert leads(kube, "second")["spec"]["leaseTransitions"] == 1
        kubelet.start("fix")
        kube.until_condition("agentsessions", "fix", "Ready")
        assert kubelet.pod("fix")["metadata"]["uid"] == pod["metadata"]["uid"]


def as_unknown_user() -> list[str]:
    """A command that runs another as a user without a passwd entry, who may still read the tests' files.

    Only root may do that; anybody else keeps their user, and only the variables that name one are missing.
    """
    if os.geteuid() != 0:
        return []
    reads = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    return ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", *reads, "--"]


def test_user_without_a_name(apiserver: Apiserver, kube: Kube, kubelet: FakeKubelet, tmp_path: Path) -> None:
    """The image's uid has no passwd entry; kopf asked for its name and the operator died before it watched."""
    with OperatorProcess(apiserver.kubeconfig, kube.namespace, tmp_path, prefix=as_unknown_user()):
        kube.session("fix", **SOLVE)
        kubelet.start("fix")
        kube.until_condition("agentsessions", "fix", "Ready")


def test_stopped_leader_gives_the_lease_up(apiserver: Apiserver, kube: Kube, tmp_path: Path) -> None:
    leader = OperatorProcess(apiserver.kubeconfig, kube.namespace, tmp_path, name="leader")
    leader.start()
    leads(kube, "leader")
    assert leader.stop() == 0
    leads(kube, "")


def test_idle_operator_writes_nothing(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    for number in range(20):
        kube.session(f"stuck-{number}", **SOLVE, poolRef={"name": "absent"})
    for number in range(20):
        kube.until_condition("agentsessions", f"stuck-{number}", "Stalled")
    before = operator.writes()
    kube.session("fix", **SOLVE)  # a whole session's passes go by: any echo of the others would be counted
    kubelet.start("fix")
    kube.until_condition("agentsessions", "fix", "Ready")
    grown = {key: count - before.get(key, 0) for key, count in operator.writes().items()}
    assert grown == {("create", "pods"): 1, ("patch", "agentsessions/status"): 2, ("create", "events"): 0}


def test_restart_rewrites_nothing(kube: Kube, kubelet: FakeKubelet, operator: OperatorProcess) -> None:
    kube.session("done", **SOLVE)
    kubelet.start("done")
    kube.until_condition("agentsessions", "done", "Ready")
    kubelet.finish("done", report())
    kube.until_condition("agentsessions", "done", "Finished")
    kube.task("run", command=["true"])
    kubelet.run_task("run-1")
    kubelet.end_task("run-1", 0, result())
    kube.until_condition("envtasks", "run", "Complete")
    operator.kill()
    operator.start()
    kube.session("next", **SOLVE)
    kubelet.start("next")
    kube.until_condition("agentsessions", "next", "Ready")
    assert operator.writes() == {("create", "pods"): 1, ("patch", "agentsessions/status"): 2}


def test_probes_and_metrics(kube: Kube, operator: OperatorProcess) -> None:
    kube.session("fix", **SOLVE)
    kube.until("pods", "fix", lambda pod: pod is not None)
    assert operator.get("/healthz").status_code == 200
    assert operator.get("/readyz").status_code == 200
    families = {
        family.name: family for family in text_string_to_metric_families(operator.get("/metrics").text)
    }
    assert families["dspy_operator_leader"].samples[0].value == 1
    assert "dspy_operator_queue_depth" in families
    counted = {
        tuple(sample.labels.values()) for sample in families["dspy_operator_reconcile_seconds"].samples
    }
    assert any("AgentSession" in labels for labels in counted)
    assert operator.rss_bytes() < 120 * 2**20


def test_many_sessions_at_once_get_one_pod_each(kube: Kube, operator: OperatorProcess) -> None:
    wanted = [f"many-{number}" for number in range(40)]
    threads = [threading.Thread(target=kube.session, args=(name,), kwargs=SOLVE) for name in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in wanted:
        kube.until_condition("agentsessions", name, "Reconciling")
    assert sorted(pod["metadata"]["name"] for pod in kube.list("pods")) == sorted(wanted)
    assert operator.writes() == {("create", "pods"): 40, ("patch", "agentsessions/status"): 40}


def test_stopped_while_it_waits_for_the_crds(tmp_path: Path) -> None:
    """Nothing answers at that address: the operator is far from watching, and still ends when told to."""
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "t", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "t", "context": {"cluster": "t", "user": "t"}}
    users = [{"name": "t", "user": {"token": "t"}}]
    kubeconfig.write_text(
        yaml.safe_dump({"current-context": "t", "contexts": [context], "clusters": [cluster], "users": users})
    )
    operator = OperatorProcess(kubeconfig, "nowhere", tmp_path)
    operator.start()
    assert operator.get("/readyz").json()["error"]["code"] == "NotReady"
    assert operator.get("/healthz").status_code == 200
    assert operator.stop() == 0
