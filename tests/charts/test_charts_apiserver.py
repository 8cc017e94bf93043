"""What an apiserver says to the rendered charts: valid objects, restricted pods, the operator's rights."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.charts.apiserver import Apiserver
from tests.charts.manifests import Manifest, objects, pod_templates, render
from tests.charts.test_charts import VARIANTS

OPERATOR = "system:serviceaccount:dspy-agent:dspy-agent-operator"
SERVES = "team-a"


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
    for template in pod_templates(objects(render(*VARIANTS[variant]))):
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
    volumes: list[Manifest] = spec["volumes"]
    mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    missing = sorted(mounted - {volume["name"] for volume in volumes})
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


def may(server: Apiserver, verb: str, resource: str, namespace: str, name: str = "") -> bool:
    """Whether the operator's ServiceAccount is allowed to do this. `resource` as group/plural[/subresource]."""
    group, _, rest = resource.partition("/")
    plural, _, subresource = rest.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "name": name}
    spec = {"user": OPERATOR, "resourceAttributes": {**attributes, "namespace": namespace}}
    answer = server.http.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json={"spec": spec})
    return bool(answer.json()["status"]["allowed"])


@pytest.fixture(params=sorted(VARIANTS))
def rights(apiserver: Apiserver, namespaces: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """The chart's RBAC objects, really there while a test asks."""
    wanted = [each for each in objects(render(*VARIANTS[request.param])) if "rbac" in each["apiVersion"]]
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
    ]
    for verb, resource, name in allowed:
        assert may(apiserver, verb, resource, SERVES, name), (verb, resource)
    assert may(apiserver, "update", "coordination.k8s.io/leases", "dspy-agent", "dspy-agent-operator")
    assert may(apiserver, "watch", "apiextensions.k8s.io/customresourcedefinitions", "")


def test_the_operator_may_do_nothing_else(apiserver: Apiserver, rights: str) -> None:
    refused = [
        ("list", "/secrets", ""),
        ("patch", "dspyagent.io/agentsessions", "x"),
        ("create", "dspyagent.io/agentsessions", ""),
        ("delete", "dspyagent.io/trainingjobs", "x"),
        ("create", "/pods/exec", "x"),
        ("create", "/serviceaccounts/token", "x"),
        ("create", "rbac.authorization.k8s.io/roles", ""),
        ("update", "coordination.k8s.io/leases", "dspy-agent-operator"),
    ]
    for verb, resource, name in refused:
        assert not may(apiserver, verb, resource, SERVES, name), (verb, resource)
    assert not may(apiserver, "update", "coordination.k8s.io/leases", "dspy-agent", "another")
    assert may(apiserver, "get", "/secrets", "elsewhere", "x") == (rights == "defaults")
