"""Who may connect to whom: the chart's NetworkPolicies, read as a network plugin reads them."""

from __future__ import annotations

import pytest

from tests.charts.manifests import Manifest, objects, pod_templates, render
from tests.charts.policies import Pod, allows
from tests.charts.test_charts import VARIANTS

WORKLOADS = {"operator": 8081, "orchestrator": 9097, "reddb": 8082, "runners": 8080}
SESSION = {"app.kubernetes.io/managed-by": "dspy-operator"}
OUTSIDE = {
    "session": Pod("team-a", SESSION, {}),
    "stranger": Pod("team-a", {"app": "web"}, {}),
    "session elsewhere": Pod("elsewhere", SESSION, {}),
    "client": Pod("elsewhere", {"app": "ci"}, {}, {"example.org/sends-tasks": "yes"}),
}
PROMETHEUS = {"defaults": Pod("monitoring", {}), "overrides": Pod("observability", {})}


def policies(variant: str, *arguments: str) -> list[Manifest]:
    rendered = objects(render(*VARIANTS[variant], *arguments))
    return [each for each in rendered if each["kind"] == "NetworkPolicy"]


def pods(variant: str) -> dict[str, Pod]:
    """Every end of a connection by a name of its own."""
    found = {}
    for template in pod_templates(objects(render(*VARIANTS[variant]))):
        labels = template["metadata"]["labels"]
        named = {
            port["name"]: port["containerPort"]
            for container in template["spec"]["containers"]
            for port in container["ports"]
        }
        found[labels["app.kubernetes.io/component"]] = Pod("dspy-agent", labels, named)
    assert found.keys() == WORKLOADS.keys()
    test = {**found["operator"].labels, "app.kubernetes.io/component": "test"}
    return {**found, **OUTSIDE, "prometheus": PROMETHEUS[variant], "helm test": Pod("dspy-agent", test)}


def reached(variant: str, target: str, port: int, *arguments: str) -> set[str]:
    """Those that may connect to this port."""
    known, said = pods(variant), policies(variant, *arguments)
    return {name for name, pod in known.items() if name != target and allows(said, pod, known[target], port)}


ANYBODY = set(OUTSIDE) | {"operator", "orchestrator", "prometheus", "helm test"}


@pytest.mark.parametrize(
    ("target", "port", "allowed"),
    [
        ("operator", 8081, {"prometheus", "helm test"}),
        ("orchestrator", 9097, ANYBODY),
        ("reddb", 8082, {"operator", "orchestrator", "helm test", "session", "session elsewhere", "prometheus"}),
        ("reddb", 6380, {"operator", "orchestrator", "helm test", "session", "session elsewhere"}),
        ("runners", 8080, {"orchestrator", "prometheus"}),
        # Nobody told us where sessions are.
        ("session", 9000, ANYBODY),
    ],
)  # fmt: skip
def test_by_default(target: str, port: int, allowed: set[str]) -> None:
    """Shared runners and RedDB call nobody: they are in no row."""
    assert reached("defaults", target, port) == allowed - {target}


@pytest.mark.parametrize(
    ("target", "port", "allowed"),
    [
        # Their clients are named, and runners may call out: the orchestrator asks what they want there.
        ("orchestrator", 9097, {"operator", "client", "prometheus", "helm test"}),
        ("reddb", 6380, {"operator", "orchestrator", "helm test", "session"}),
        ("runners", 8080, {"orchestrator", "prometheus"}),
        ("session", 9000, {"operator"}),
        ("session", 8080, set()),
        # DNS, wherever it is.
        ("stranger", 53, ANYBODY - {"stranger"} | {"runners"}),
        ("stranger", 80, ANYBODY - {"session", "stranger"} | {"runners"}),
    ],
)
def test_with_everything_set(target: str, port: int, allowed: set[str]) -> None:
    assert reached("overrides", target, port) == allowed


def test_switched_off() -> None:
    assert policies("overrides", "--set=networkPolicies.enabled=false") == []


def test_policies_name_ports_that_pods_have() -> None:
    """A policy that names a port which no container has would shut it."""
    known = pods("defaults")
    for policy in policies("defaults"):
        component = policy["metadata"]["labels"]["app.kubernetes.io/component"]
        named = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert named <= known[component].ports.keys()
