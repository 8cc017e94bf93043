"""What an apiserver says to the rendered charts: valid objects, restricted pods, the operator's rights."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.charts.apiserver import Apiserver, process
from tests.charts.manifests import PLURALS, Manifest, objects, pod_templates, pods, render
from tests.charts.specs import MINIMAL
from tests.charts.test_charts import VARIANTS

OPERATOR = "system:serviceaccount:dspy-agent:dspy-agent-operator"
ORCHESTRATOR = "system:serviceaccount:dspy-agent:dspy-agent-orchestrator"
SERVES = "team-a"
SECRET_KEY = {"name": "absent", "key": "x"}


@pytest.fixture(scope="module")
def namespaces(apiserver: Apiserver) -> None:
    """The release's namespace, which enforces the restricted standard, and those that it serves."""
    for name in ("dspy-agent", "team-a", "team-b", "elsewhere"):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        assert apiserver.http.post("/api/v1/namespaces", json=namespace).status_code == 201


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.usefixtures("namespaces")
def test_every_object_is_valid(apiserver: Apiserver, variant: str) -> None:
    done = apiserver.kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
        stdin=render(*VARIANTS[variant]),
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.usefixtures("namespaces")
def test_every_pod_is_admitted_by_the_restricted_standard(apiserver: Apiserver, variant: str) -> None:
    rendered = objects(render(*VARIANTS[variant]))
    for template in pod_templates(rendered) + pods(rendered):
        spec = {**template["spec"], "volumes": with_claims(template["spec"])}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": template["name"]}, "spec": spec}
        answer = apiserver.http.post(
            "/api/v1/namespaces/dspy-agent/pods",
            params={"dryRun": "All", "fieldValidation": "Strict"},
            json=pod,
        )
        assert answer.status_code == 201, answer.json()["message"]


def with_claims(spec: Manifest) -> list[Manifest]:
    """The pod's volumes and, as the StatefulSet controller would add it, the claim of its data."""
    volumes: list[Manifest] = spec.get("volumes", [])
    mounts = [mount for container in spec["containers"] for mount in container.get("volumeMounts", [])]
    missing = sorted({mount["name"] for mount in mounts} - {volume["name"] for volume in volumes})
    return volumes + [
        {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-reddb-0"}} for name in missing
    ]


@pytest.mark.usefixtures("namespaces")
def test_the_standard_is_enforced_here(apiserver: Apiserver) -> None:
    """The control of the test above: a pod that asks for root is turned away."""
    container = {"name": "c", "image": "x", "securityContext": {"runAsUser": 0}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [container]},
    }
    answer = apiserver.http.post("/api/v1/namespaces/dspy-agent/pods", params={"dryRun": "All"}, json=pod)
    assert answer.status_code == 403
    assert "restricted" in answer.json()["message"]


def may(
    server: Apiserver, verb: str, resource: str, namespace: str, name: str = "", *, who: str = OPERATOR
) -> bool:
    """Whether a ServiceAccount is allowed to do this. `resource` as group/plural[/subresource]."""
    group, _, rest = resource.partition("/")
    plural, _, subresource = rest.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "name": name}
    spec = {"user": who, "resourceAttributes": {**attributes, "namespace": namespace}}
    answer = server.http.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json={"spec": spec})
    return bool(answer.json()["status"]["allowed"])


@pytest.fixture(params=sorted(VARIANTS))
def rights(apiserver: Apiserver, namespaces: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """The chart's RBAC objects, really there while a test asks."""
    rendered = objects(render(*VARIANTS[request.param]))
    wanted = [each for each in rendered if "rbac" in each["apiVersion"] or each["kind"] == "ServiceAccount"]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
    applied = apiserver.kubectl("apply", "--server-side", "-f", "-", stdin=listed)
    assert applied.returncode == 0, applied.stderr
    yield request.param
    deleted = apiserver.kubectl("delete", "-f", "-", stdin=listed)
    assert deleted.returncode == 0, deleted.stderr


def test_the_operator_may_do_its_work(apiserver: Apiserver, rights: str) -> None:
    allowed = [
        ("watch", "dspyagent.io/agentsessions", ""),
        ("patch", "dspyagent.io/agentsessions/status", "x"),
        ("patch", "dspyagent.io/trainingjobs/status", "x"),
        ("delete", "dspyagent.io/envtasks", "x"),
        ("create", "/pods", ""),
        ("watch", "/pods", ""),
        ("delete", "/pods", "x"),
        ("get", "/secrets", "x"),
        ("get", "/configmaps", "x"),
        ("create", "/events", ""),
        ("delete", "dspyagent.io/trainingjobs", "x"),
        ("patch", "dspyagent.io/trainingjobs", "x"),
        ("create", "ray.io/rayjobs", ""),
        ("delete", "ray.io/rayjobs", "x"),
    ]
    for verb, resource, name in allowed:
        assert may(apiserver, verb, resource, SERVES, name), (verb, resource)
    assert may(apiserver, "update", "coordination.k8s.io/leases", "dspy-agent", "dspy-agent-operator")


def test_the_operator_may_do_nothing_else(apiserver: Apiserver, rights: str) -> None:
    refused = [
        ("list", "/secrets", ""),
        ("patch", "dspyagent.io/agentsessions", "x"),
        ("create", "dspyagent.io/agentsessions", ""),
        ("update", "dspyagent.io/trainingjobs", "x"),
        ("delete", "dspyagent.io/agentpools", "x"),
        ("list", "ray.io/rayjobs", ""),
        ("patch", "ray.io/rayjobs", "x"),
        ("create", "/pods/exec", "x"),
        ("create", "/serviceaccounts/token", "x"),
        ("create", "rbac.authorization.k8s.io/roles", ""),
        ("list", "apiextensions.k8s.io/customresourcedefinitions", ""),
        ("update", "coordination.k8s.io/leases", "dspy-agent-operator"),
    ]
    for verb, resource, name in refused:
        assert not may(apiserver, verb, resource, SERVES, name), (verb, resource)
    assert not may(apiserver, "update", "coordination.k8s.io/leases", "dspy-agent", "another")
    assert may(apiserver, "get", "/secrets", "elsewhere", "x") == (rights == "defaults")


def test_the_orchestrator_may_find_runners_and_ask_about_tokens(apiserver: Apiserver, rights: str) -> None:
    for verb in ("get", "list", "watch"):
        assert may(apiserver, verb, "discovery.k8s.io/endpointslices", "dspy-agent", who=ORCHESTRATOR)
        assert not may(apiserver, verb, "discovery.k8s.io/endpointslices", SERVES, who=ORCHESTRATOR)
    for question in ("authentication.k8s.io/tokenreviews", "authorization.k8s.io/subjectaccessreviews"):
        assert may(apiserver, "create", question, "", who=ORCHESTRATOR) == (rights == "defaults")
    for verb, resource in (
        ("update", "discovery.k8s.io/endpointslices"),
        ("get", "/pods"),
        ("get", "/secrets"),
    ):
        assert not may(apiserver, verb, resource, "dspy-agent", who=ORCHESTRATOR), (verb, resource)


def operator_environment(server: Apiserver, variant: str, folder: Path) -> dict[str, str]:
    """What the operator's container would get, with a token of its own ServiceAccount."""
    (template,) = [
        pod
        for pod in pod_templates(objects(render(*VARIANTS[variant])))
        if pod["name"] == "dspy-agent-operator"
    ]
    given = {
        each["name"]: each.get("value", "dspy-agent") for each in template["spec"]["containers"][0]["env"]
    }
    (folder / "reddb-token").write_text("tests-only")
    path = "/api/v1/namespaces/dspy-agent/serviceaccounts/dspy-agent-operator/token"
    answer = server.http.post(path, json={"spec": {"expirationSeconds": 600}})
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": answer.json()["status"]["token"]}
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    return {
        **os.environ,
        **given,
        "DSPY_OPERATOR_REDDB_TOKEN_FILE": str(folder / "reddb-token"),
        "DSPY_OPERATOR_LISTEN": "127.0.0.1:0",
        "KUBECONFIG": str(folder / "kubeconfig"),
    }


def test_the_operator_works_with_these_rights_alone(
    apiserver: Apiserver, rights: str, tmp_path: Path
) -> None:
    """The real operator, under the restricted standard: it leads, makes pods, writes status, and is never refused."""
    made = [
        ("AgentSession", {"task": {"check": {"command": ["pytest"]}}, "policy": {"search": {}}}),
        ("EnvTask", {"command": ["true"], "env": [{"name": "A", "valueFrom": {"secretKeyRef": SECRET_KEY}}]}),
        ("TrainingJob", MINIMAL["TrainingJob"]),
    ]
    log = tmp_path / "operator.log"
    environment = operator_environment(apiserver, rights, tmp_path)
    with process([sys.executable, "-m", "dspy_operator"], log, environment):
        for kind, spec in made:
            body = {
                "apiVersion": "dspyagent.io/v1alpha1",
                "kind": kind,
                "metadata": {"name": "rights"},
                "spec": spec,
            }
            path = f"/apis/dspyagent.io/v1alpha1/namespaces/{SERVES}/{PLURALS[kind]}"
            assert apiserver.http.post(path, json=body).status_code == 201
        expected = {"ags": "condition=Reconciling", "envt": "condition=Stalled", "tjob": "condition=Stalled"}
        for short, condition in expected.items():
            waited = apiserver.kubectl(
                "wait", f"--for={condition}", f"{short}/rights", "-n", SERVES, "--timeout=20s"
            )
            assert waited.returncode == 0, waited.stderr + log.read_text()
        assert apiserver.http.get(f"/api/v1/namespaces/{SERVES}/pods/rights").status_code == 200
        path = "/apis/coordination.k8s.io/v1/namespaces/dspy-agent/leases/dspy-agent-operator"
        assert apiserver.http.get(path).status_code == 200
    for kind, _ in made:
        apiserver.http.delete(f"/apis/dspyagent.io/v1alpha1/namespaces/{SERVES}/{PLURALS[kind]}/rights")
    apiserver.http.delete(f"/api/v1/namespaces/{SERVES}/pods/rights", params={"gracePeriodSeconds": "0"})
    assert "forbidden" not in log.read_text().lower()
