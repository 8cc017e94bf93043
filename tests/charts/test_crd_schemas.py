"""Properties that hold for each schema as a whole, read from the committed files."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.manifests import PLURALS, definition, fields, schema, version
from tools.charts import sync

KINDS = sorted(PLURALS)
SHORT_NAMES = {"AgentSession": "ags", "AgentPool": "agp", "EnvTask": "envt", "TrainingJob": "tjob"}
# Parts that several kinds share. A change to one copy alone would give users two dialects.
SHARED = [
    ("AgentSession", ".spec.template", "EnvTask", ".spec.template"),
    ("AgentSession", ".spec.env", "EnvTask", ".spec.env"),
    ("AgentSession", ".spec.env", "TrainingJob", ".spec.trainer.env"),
    ("AgentSession", ".spec.envFrom", "EnvTask", ".spec.envFrom"),
    ("AgentSession", ".spec.network", "EnvTask", ".spec.network"),
    ("AgentSession", ".spec.workspace.git", "EnvTask", ".spec.workspace.git"),
    ("AgentSession", ".spec.workspace.setup", "EnvTask", ".spec.workspace.setup"),
    (
        "AgentSession",
        ".spec.template.resources.limits",
        "TrainingJob",
        ".spec.trainer.resourcesPerNode.limits",
    ),
    ("AgentSession", ".spec.template.tolerations", "TrainingJob", ".spec.ray.workerGroups[].tolerations"),
]


def test_what_is_made_from_crds_is_up_to_date() -> None:
    assert not sync.out_of_step(sync.expected()), "run `make generate`"


def test_a_source_that_helm_would_read_as_a_template_is_refused() -> None:
    with pytest.raises(ValueError, match="two opening braces"):
        sync.chart_copy("x.yaml", "apiVersion: v1\nmetadata:\n  name: x\nspec:\n  a: '{{ b }}'\n")


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_a_description(kind: str) -> None:
    silent = [
        path for path, node in fields(schema(kind)) if path != ".metadata" and not node.get("description")
    ]
    assert not silent


@pytest.mark.parametrize("kind", KINDS)
def test_everything_has_a_bound(kind: str) -> None:
    unbounded = [path for path, node in fields(schema(kind)) if path != ".metadata" and not is_bounded(node)]
    assert not unbounded


def is_bounded(node: dict[str, Any]) -> bool:
    """Whether values of this schema have a largest size: also what keeps the cost of CEL rules known."""
    if node.get("x-kubernetes-int-or-string"):
        return "maxLength" in node and "pattern" in node
    match node["type"]:
        case "string":
            return "maxLength" in node or "enum" in node
        case "integer" | "number":
            return "minimum" in node and ("maximum" in node or node["format"] == "int64")
        case "array":
            return "maxItems" in node and "x-kubernetes-list-type" in node
        case "object":
            return "properties" in node or "maxProperties" in node
        case _:
            return bool(node["type"] == "boolean")


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_subresources(kind: str) -> None:
    spec = definition(kind)["spec"]
    assert (spec["group"], spec["scope"], version(kind)["name"]) == ("dspyagent.io", "Namespaced", "v1alpha1")
    assert spec["names"]["shortNames"] == [SHORT_NAMES[kind]]
    assert spec["names"]["categories"] == ["dspy"]
    assert version(kind)["subresources"]["status"] == {}
    assert ("scale" in version(kind)["subresources"]) == (kind == "AgentPool")


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_have_the_shape_of_metav1(kind: str) -> None:
    conditions = dict(fields(schema(kind)))[".status.conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["required"]) == {
        "type",
        "status",
        "lastTransitionTime",
        "reason",
        "message",
    }
    assert set(conditions["items"]["properties"]) - set(conditions["items"]["required"]) == {
        "observedGeneration"
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_says_what_to_do(kind: str) -> None:
    nodes = [("", schema(kind)), *fields(schema(kind))]
    rules = [rule for _, node in nodes for rule in node.get("x-kubernetes-validations", [])]
    assert rules
    assert not [rule["rule"] for rule in rules if not rule.get("message")]


@pytest.mark.parametrize(("kind", "path", "other", "other_path"), SHARED)
def test_shared_parts_are_the_same_in_every_kind(kind: str, path: str, other: str, other_path: str) -> None:
    assert comparable(dict(fields(schema(kind)))[path]) == comparable(dict(fields(schema(other)))[other_path])


def comparable(node: dict[str, Any]) -> dict[str, Any]:
    """The schema without its own description, which speaks of the place where it is used."""
    return {key: value for key, value in node.items() if key != "description"}
