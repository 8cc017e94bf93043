"""TrainingJob on Ray, on a real apiserver. KubeRay and Ray's dashboard are stand-ins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.charts.apiserver import Apiserver
from tests.operator.kube import Kube, Object, condition
from tests.operator.process import OperatorProcess
from tests.operator.standin_kuberay import CRD, StandInDashboard, StandInKubeRay

JOB: dict[str, Any] = {
    "backend": "RayJob",
    "policy": {"ranker": {}},
    "environment": {"tasks": {"generator": {"name": "mutants"}}},
    "trainer": {"image": "localhost/trainer:1", "command": ["python", "-m", "train"]},
}
ENV = {"DSPY_OPERATOR_TRAINING_POLL_SECONDS": "0.2"}
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def progress(step: int, reward: float, total: int = 100) -> Object:
    return {"dspy": "progress", "step": step, "total": total, "metrics": {"reward_mean": reward}}


def checkpoint(step: int) -> Object:
    return {"dspy": "checkpoint", "step": step, "uri": f"s3://bucket/{step}", "sha256": "a" * 64}


def install(apiserver: Apiserver) -> None:
    created = apiserver.http.post(_CRDS, json=CRD)
    assert created.status_code in (201, 409), created.text
    served = apiserver.kubectl("wait", "--for=condition=Established", "crd/rayjobs.ray.io", "--timeout=30s")
    assert served.returncode == 0, served.stderr


@pytest.fixture
def kuberay(apiserver: Apiserver, kube: Kube) -> Iterator[StandInKubeRay]:
    install(apiserver)
    with StandInDashboard() as dashboard:
        yield StandInKubeRay(kube, dashboard)
    for job in kube.list("rayjobs"):
        kube.patch("rayjobs", job["metadata"]["name"], {"metadata": {"finalizers": None}})
    kube.http.delete(kube.path("rayjobs"))


@pytest.fixture
def trained(apiserver: Apiserver, kube: Kube, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that reads logs often."""
    with OperatorProcess(apiserver.kubeconfig, kube.namespace, tmp_path, env=ENV) as process:
        yield process


def variables(rayjob: Object) -> dict[str, str]:
    (container,) = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


def until_status(kube: Kube, name: str, **fields: Any) -> Object:
    """The job once its status has those fields."""
    seen = kube.until(
        "trainingjobs", name, lambda job: job is not None and fields.items() <= job.get("status", {}).items()
    )
    assert seen is not None
    return seen


def until_checkpoint(kube: Kube, name: str, step: int) -> Object:
    seen = kube.until(
        "trainingjobs",
        name,
        lambda job: job is not None and job.get("status", {}).get("checkpoint", {}).get("step") == step,
    )
    assert seen is not None
    return seen


def test_stalled_until_kuberay_is_installed(
    apiserver: Apiserver, kube: Kube, trained: OperatorProcess
) -> None:
    kube.training("rank", **JOB)
    job = kube.until_condition("trainingjobs", "rank", "Stalled", "KubeRayNotInstalled")
    assert "install the KubeRay operator" in condition(job, "Stalled")["message"]
    assert job["status"]["phase"] == "Stalled"
    install(apiserver)
    kube.until("rayjobs", "rank", lambda seen: seen is not None)
    kube.until_condition("trainingjobs", "rank", "Submitted")
    kube.http.delete(kube.path("rayjobs"))


def test_complete_with_progress(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB)
    created = kuberay.run("rank")
    assert created["spec"]["entrypoint"] == "python -m train"
    assert variables(created)["DSPY_TRAINING_ATTEMPT"] == "1"
    assert "DSPY_TRAINING_RESUME_FROM" not in variables(created)
    until_status(kube, "rank", jobState="Running", phase="Running", attempts=1)
    kuberay.print("rank", "noise", progress(10, 0.1), checkpoint(10), progress(50, 0.5))
    job = until_checkpoint(kube, "rank", 10)
    assert job["status"]["progress"]["percent"] == 50
    assert job["status"]["progress"]["metrics"] == [{"name": "reward_mean", "value": "0.5"}]
    kuberay.print("rank", progress(100, 0.9), checkpoint(100))
    kuberay.succeed("rank")
    job = kube.until_condition("trainingjobs", "rank", "Complete", "Succeeded")
    status = job["status"]
    assert [point["step"] for point in status["progress"]["curve"]] == [10, 50, 100]
    assert status["checkpoint"] == {"uri": "s3://bucket/100", "step": 100, "sha256": "a" * 64}
    assert status["backendRef"] == {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "rank"}
    assert status["activeSeconds"] == 30
    assert kube.get("rayjobs", "rank") is not None


def test_retry_resumes_at_the_checkpoint(
    kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess
) -> None:
    kube.training("rank", **JOB, backoffLimit=1)
    kuberay.run("rank")
    kuberay.print("rank", progress(10, 0.1), checkpoint(10))
    kuberay.fail("rank", message="exit code 7\n\x1b[31mboom\x1b[0m")
    kuberay.clear("rank")
    second = kuberay.run("rank")
    told = variables(second)
    assert (told["DSPY_TRAINING_ATTEMPT"], told["DSPY_TRAINING_RESUME_STEP"]) == ("2", "10")
    assert told["DSPY_TRAINING_RESUME_FROM"] == "s3://bucket/10"
    until_status(kube, "rank", attempts=2, failures=1, jobState="Running")
    kuberay.fail("rank", message="exit code 7\n\x1b[31mboom\x1b[0m")
    job = kube.until_condition("trainingjobs", "rank", "Failed", "AppFailed")
    assert condition(job, "Failed")["message"] == "exit code 7\nboom"
    assert job["status"]["failures"] == 2


def test_no_checkpoint_no_silent_start(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB, backoffLimit=3)
    kuberay.run("rank")
    until_status(kube, "rank", jobState="Running")
    kuberay.fail("rank")
    job = kube.until_condition("trainingjobs", "rank", "Failed", "NoCheckpoint")
    assert "announced no checkpoint" in condition(job, "Failed")["message"]
    assert job["status"]["attempts"] == 1


def test_never_begins_anew_as_asked(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    spec = {**JOB, "checkpoint": {"storageUri": "s3://bucket/run", "resume": "Never"}}
    kube.training("rank", **spec, backoffLimit=1)
    kuberay.run("rank")
    kuberay.print("rank", progress(10, 0.1), checkpoint(10))
    kuberay.fail("rank")
    kuberay.clear("rank")
    assert "DSPY_TRAINING_RESUME_FROM" not in variables(kuberay.run("rank"))


def test_head_lost(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    """KubeRay begins the job again under the same jobId: it is ended, and begun again where it was."""
    kube.training("rank", **JOB)
    kuberay.run("rank")
    kuberay.print("rank", progress(20, 0.2), checkpoint(20))
    until_checkpoint(kube, "rank", 20)
    until_status(kube, "rank", jobState="Running")  # by then the operator has seen when it began
    kuberay.lose_head("rank")
    kuberay.clear("rank")
    assert variables(kuberay.run("rank"))["DSPY_TRAINING_RESUME_STEP"] == "20"
    until_status(kube, "rank", attempts=2, failures=0, jobState="Running")


def test_head_lost_before_a_checkpoint(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB)
    kuberay.run("rank")
    until_status(kube, "rank", jobState="Running")
    kuberay.lose_head("rank")
    job = kube.until_condition("trainingjobs", "rank", "Failed", "NoCheckpoint")
    assert "RestartedByBackend" in condition(job, "Failed")["message"]
    kuberay.clear("rank")


def test_suspend_and_resume(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB)
    kuberay.run("rank")
    kuberay.print("rank", progress(20, 0.2), checkpoint(20))
    until_checkpoint(kube, "rank", 20)
    kube.patch("trainingjobs", "rank", {"spec": {"suspend": True}})
    kuberay.clear("rank")
    job = kube.until_condition("trainingjobs", "rank", "Suspended")
    assert job["status"]["jobState"] == "Suspended"
    assert kube.get("rayjobs", "rank") is None
    kube.patch("trainingjobs", "rank", {"spec": {"suspend": False}})
    assert variables(kuberay.run("rank"))["DSPY_TRAINING_RESUME_STEP"] == "20"
    until_status(kube, "rank", attempts=2, jobState="Running")


def test_created_suspended(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB, suspend=True)
    kube.until_condition("trainingjobs", "rank", "Suspended")
    assert kube.list("rayjobs") == []
    kube.patch("trainingjobs", "rank", {"spec": {"suspend": False}})
    kuberay.run("rank")
    until_status(kube, "rank", attempts=1, jobState="Running")


def test_created_again_while_the_former_rayjob_goes(
    kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess
) -> None:
    kube.training("rank", **JOB)
    former = kuberay.run("rank")
    until_status(kube, "rank", jobState="Running")
    kube.delete("trainingjobs", "rank")
    kube.delete("rayjobs", "rank")  # as the garbage collector does
    kube.until("trainingjobs", "rank", lambda job: job is None)
    kube.training("rank", **JOB)
    kube.until_condition("trainingjobs", "rank", "Reconciling", "WaitingForDeletion")
    kuberay.clear("rank")
    assert kuberay.run("rank")["metadata"]["uid"] != former["metadata"]["uid"]


def test_deadline(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB, activeDeadlineSeconds=2)
    kuberay.run("rank")
    kube.until_condition("trainingjobs", "rank", "Failed", "DeadlineExceeded")
    kuberay.clear("rank")


def test_killed_between_creation_and_status(
    kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess
) -> None:
    """An operator that died after it created a run finds it, and begins no second one."""
    kube.training("rank", **JOB)
    created = kuberay.run("rank")
    trained.kill()
    kube.patch("trainingjobs", "rank", {"status": None}, "status")
    trained.start()
    until_status(kube, "rank", attempts=1, jobState="Running")
    again = kube.get("rayjobs", "rank")
    assert again is not None
    assert again["metadata"]["uid"] == created["metadata"]["uid"]


def test_ttl(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    kube.training("rank", **JOB, ttlSecondsAfterFinished=0)
    kuberay.run("rank")
    kuberay.succeed("rank")
    kube.until("trainingjobs", "rank", lambda job: job is None)


def test_a_trainer_without_a_command_is_refused(
    kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess
) -> None:
    kube.training("rank", **{**JOB, "trainer": {"image": "localhost/trainer:1"}})
    kube.until_condition("trainingjobs", "rank", "Stalled", "TrainerCommandMissing")


def test_a_missing_secret_is_named(kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess) -> None:
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]
    kube.training("rank", **{**JOB, "trainer": {**JOB["trainer"], "env": env}})
    job = kube.until_condition("trainingjobs", "rank", "Stalled", "SecretNotFound")
    assert "spec.trainer.env[KEY]" in condition(job, "Stalled")["message"]


def test_rays_pods_are_admitted_where_restricted_is_enforced(
    kube: Kube, kuberay: StandInKubeRay, trained: OperatorProcess
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    patched = kube.http.patch(
        f"/api/v1/namespaces/{kube.namespace}",
        json={"metadata": {"labels": labels}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert patched.is_success, patched.text
    spec = {**JOB, "trainer": {**JOB["trainer"], "numNodes": 2}, "ray": {"submissionMode": "K8sJobMode"}}
    kube.training("rank", **spec)
    made = kuberay.accept("rank")["spec"]
    cluster = made["rayClusterSpec"]
    templates = [cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"]]
    bare = {"containers": [{"name": "ray", "image": "localhost/trainer:1"}]}
    assert "violates PodSecurity" in dry_run(kube, bare).text
    for template in (*templates, made["submitterPodTemplate"]):
        answer = dry_run(kube, template["spec"])
        assert answer.is_success, answer.text


def dry_run(kube: Kube, spec: Object) -> httpx.Response:
    """Whether the apiserver would take a pod of that spec."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": spec}
    return kube.http.post(kube.path("pods"), json=pod, params={"dryRun": "All"})
