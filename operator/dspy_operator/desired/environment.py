"""A session's env and envFrom as the kubelet would resolve them, for a pod that is running already. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping

from dspy_operator.errors import NotBindableError
from dspy_operator.store import Object

# By kind and name: what each key holds, as text (ConfigMap) or as it is (Secret). Absent: it does not exist.
Sources = Mapping[tuple[str, str], Mapping[str, bytes]]

# What Kubernetes takes for the name of a variable; keys that are none are left out.
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_OF_VARIABLE = {"secretKeyRef": "Secret", "configMapKeyRef": "ConfigMap"}
_OF_ALL = {"secretRef": "Secret", "configMapRef": "ConfigMap"}


def resolve(spec: Object, sources: Sources) -> list[Object]:
    """`[{"name", "value"}]`: envFrom first, then env, each name once with its last value.

    What is missing is left out: who must have it was told before. Raises NotBindableError for what is not text.
    """
    made: dict[str, str] = {}
    for entry in spec.get("envFrom", ()):
        prefix = entry.get("prefix", "")
        for key, value in sorted(_all_of(entry, sources).items()):
            if _NAME.fullmatch(prefix + key):
                made[prefix + key] = _text(prefix + key, value)
    for variable in spec.get("env", ()):
        name = variable["name"]
        if "valueFrom" not in variable:
            made[name] = expand(variable.get("value", ""), made.get)
            continue
        found = _key_of(variable["valueFrom"], sources)
        if found is not None:
            made[name] = _text(name, found)
    return [{"name": name, "value": value} for name, value in made.items()]


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """`$(NAME)` becomes its value where it has one and stays as it is where not; `$$` is `$`; any other `$` stays."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        value = lookup(match[1])
        return match[0] if value is None else value

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, text)


def named(spec: Object) -> set[tuple[str, str]]:
    """The Secrets and ConfigMaps that `resolve` needs, by kind and name."""
    found = set()
    for entry in spec.get("envFrom", ()):
        found |= {(kind, entry[field]["name"]) for field, kind in _OF_ALL.items() if field in entry}
    for variable in spec.get("env", ()):
        chosen = variable.get("valueFrom", {})
        found |= {(kind, chosen[field]["name"]) for field, kind in _OF_VARIABLE.items() if field in chosen}
    return found


def contents(kind: str, stored: Object) -> dict[str, bytes]:
    """What variables can be made from: a Secret's keys, a ConfigMap's keys that hold text."""
    if kind == "Secret":
        return {key: base64.b64decode(value) for key, value in stored.items()}
    return {key: value.encode() for key, value in (stored.get("data") or {}).items()}


def _all_of(entry: Object, sources: Sources) -> Mapping[str, bytes]:
    for field, kind in _OF_ALL.items():
        if field in entry:
            return sources.get((kind, entry[field]["name"]), {})
    return {}


def _key_of(chosen: Object, sources: Sources) -> bytes | None:
    for field, kind in _OF_VARIABLE.items():
        if field in chosen:
            return sources.get((kind, chosen[field]["name"]), {}).get(chosen[field]["key"])
    return None


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"  # without the error, which would quote the value
    if "\0" in text:
        raise NotBindableError(f"The value of the variable {name} is not text.")
    return text
