"""Field tables of docs/resources.md, written from the schemas so that page and `kubectl explain` cannot differ.

A table stands between `<!-- fields KIND PATH -->` and `<!-- end -->`, for example `<!-- fields EnvTask .spec -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.common.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "resources.md"
CRDS = REPOSITORY / "crds"
TABLE = re.compile(r"(<!-- fields (\w+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
# Parts that several kinds share have a section, and a table, of their own.
SHARED = {
    "template": "#template",
    "workspace": "#workspace",
    "env": "#env-and-envfrom",
    "envFrom": "#env-and-envfrom",
    "network": "#network",
    "conditions": "#conditions",
}

Schema = dict[str, Any]


def expected_page() -> str:
    """The page with each table as the schemas make it now."""
    schemas = dict(map(load, sorted(CRDS.glob("*.yaml"))))
    return TABLE.sub(
        lambda found: found[1] + table(find(schemas[found[2]], found[3])) + found[4], PAGE.read_text()
    )


def load(path: Path) -> tuple[str, Schema]:
    """Kind and schema of one definition."""
    spec = yaml.safe_load(path.read_text())["spec"]
    return spec["names"]["kind"], spec["versions"][0]["schema"]["openAPIV3Schema"]


def find(schema: Schema, path: str) -> Schema:
    """The schema at `.spec.workspace`; a list's path leads to its items. KeyError where there is none."""
    for name in path.strip(".").split("."):
        schema = inner(schema["properties"][name])
    return schema


def inner(schema: Schema) -> Schema:
    """What holds the properties: of a list, its items."""
    items: Schema = schema.get("items", schema)
    return items


def table(schema: Schema) -> str:
    lines = ["| field | type | default | what it does |", "|---|---|---|---|"]
    lines += [row(path, field, required) for path, field, required in rows(schema, "")]
    return "\n".join(lines) + "\n"


def rows(schema: Schema, prefix: str) -> Iterator[tuple[str, Schema, bool]]:
    """Fields below `schema`, parents first: path, schema, whether it must be set."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}" + ("[]" if field.get("type") == "array" else "")
        yield path, field, name in required
        if name not in SHARED:
            yield from rows(inner(field), f"{path}.")


def row(path: str, field: Schema, required: bool) -> str:
    name = path.rstrip("[]").rpartition(".")[2]
    text = field["description"].replace("|", "\\|")
    if name in SHARED:
        text += f" See [{name}]({SHARED[name]})."
    if required:
        text = "**Required.** " + text
    default = f"`{field['default']}`" if field.get("default", {}) != {} else ""
    return f"| `{path}` | {type_name(field)} | {default} | {text} |"


def type_name(field: Schema) -> str:
    """A word for the type, or the words that the field takes."""
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if field["type"] == "array":
        return f"list of {type_name(field['items'])}"
    if field["type"] == "object" and "additionalProperties" in field:
        return f"map of {type_name(field['additionalProperties'])}"
    return str({"date-time": "time"}.get(field.get("format", ""), field["type"]))
