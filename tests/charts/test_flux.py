"""The CEL of docs/gitops.md, evaluated by an apiserver on statuses that an operator wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.charts.apiserver import Apiserver
from tests.charts.manifests import ROOT, Manifest

GROUP = "flux.example.org"
(BLOCK,) = re.findall(
    r"```yaml\n(healthCheckExprs:.*?)```", (ROOT / "docs" / "gitops.md").read_text(), re.DOTALL
)
EXPRESSIONS: dict[str, str] = {
    f"{check['kind']}-{outcome}": check[outcome]
    for check in yaml.safe_load(BLOCK)["healthCheckExprs"]
    for outcome in ("current", "failed")
}
LIVE: list[Manifest] = json.loads((ROOT / "tests" / "charts" / "previous" / "live.json").read_text())
RECORDED = {each["metadata"]["name"]: each["status"]["conditions"] for each in LIVE if each["kind"] != "Pod"}
STALLED = [{"type": "Ready", "status": "False"}, {"type": "Stalled", "status": "True"}]
FAILED = [{"type": "Complete", "status": "False"}, {"type": "Failed", "status": "True"}]


def kind_with_rule(plural: str, rule: str) -> Manifest:
    """A kind whose objects are valid where `rule` is true of them."""
    condition = {
        "type": "object",
        "properties": {name: {"type": "string", "maxLength": 99} for name in ("type", "status")},
    }
    conditions = {"type": "array", "maxItems": 20, "items": condition}
    status = {"type": "object", "properties": {"conditions": conditions}}
    root = {
        "type": "object",
        "properties": {"status": status},
        "x-kubernetes-validations": [{"rule": rule, "message": "the rule is false"}],
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": root}}
    names = {
        "plural": plural,
        "singular": plural,
        "kind": plural.capitalize(),
        "listKind": f"{plural.capitalize()}List",
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def plurals(apiserver: Apiserver) -> Iterator[dict[str, str]]:
    """The kind of each expression."""
    made = {name: name.replace("-", "").lower() for name in EXPRESSIONS}
    rules = {
        plural: re.sub(r"\bstatus\.conditions", "self.status.conditions", EXPRESSIONS[name])
        for name, plural in made.items()
    }
    kinds = [kind_with_rule(plural, rule) for plural, rule in rules.items()]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": kinds})
    created = apiserver.kubectl("create", "-f", "-", stdin=listed)
    assert created.returncode == 0, created.stderr
    names = [f"crd/{plural}.{GROUP}" for plural in made.values()]
    served = apiserver.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    assert served.returncode == 0, served.stderr
    yield made
    apiserver.kubectl("delete", *names)


@pytest.mark.parametrize(
    ("kind", "conditions", "outcomes"),
    [
        ("AgentSession", RECORDED["works"], {"current"}),
        ("AgentSession", RECORDED["solved"], {"current"}),
        ("AgentSession", STALLED, {"failed"}),
        ("AgentSession", [], set()),
        ("EnvTask", RECORDED["runs"], set()),
        ("EnvTask", RECORDED["passed"], {"current"}),
        ("EnvTask", FAILED, {"failed"}),
        ("EnvTask", STALLED, {"failed"}),
    ],
)
def test_flux_is_told(
    apiserver: Apiserver, plurals: dict[str, str], kind: str, conditions: list[Any], outcomes: set[str]
) -> None:
    asked = ("current", "failed")
    assert {each for each in asked if holds(apiserver, plurals[f"{kind}-{each}"], conditions)} == outcomes


def holds(apiserver: Apiserver, plural: str, conditions: list[dict[str, str]]) -> bool:
    """Whether the kind's rule is true of these conditions."""
    kept = [{name: each[name] for name in ("type", "status")} for each in conditions]
    body = {
        "apiVersion": f"{GROUP}/v1",
        "kind": plural.capitalize(),
        "metadata": {"name": "asked"},
        "status": {"conditions": kept},
    }
    done = apiserver.kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(body)
    )
    assert done.returncode == 0 or "the rule is false" in done.stderr, done.stderr
    return done.returncode == 0
