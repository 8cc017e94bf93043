"""Secrets and ConfigMaps that a spec names: looked for before a pod would wait for them in silence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from dspy_operator.errors import ForbiddenError, NotFoundError, StalledError
from dspy_operator.reconcile.context import Context
from dspy_operator.store import Object

RETRY_S = 10.0


class Reference(NamedTuple):
    """A Secret or ConfigMap, and a key in it where one is named. `field` is where the spec says so."""

    kind: str
    name: str
    key: str | None
    field: str


async def check(ctx: Context, namespace: str, spec: Object) -> None:
    """Raises StalledError for the first thing that is missing. Reads nothing twice."""
    wanted: defaultdict[tuple[str, str], list[Reference]] = defaultdict(list)
    for reference in referenced(spec):
        wanted[reference.kind, reference.name].append(reference)
    for (kind, name), references in wanted.items():
        keys = await _keys(ctx, kind, namespace, name, references[0].field)
        if keys is None:
            continue
        for reference in references:
            if reference.key is not None and reference.key not in keys:
                raise _missing(
                    kind,
                    f"{kind} {name} has no key {reference.key}",
                    f"add the key {reference.key} to it",
                    reference.field,
                )


def referenced(spec: Object) -> Iterator[Reference]:
    """Everything that the spec names and cannot do without."""
    workspace = spec.get("workspace", {})
    if secret := workspace.get("git", {}).get("secretRef"):
        yield Reference("Secret", secret["name"], None, "spec.workspace.git.secretRef")
    if config_map := workspace.get("configMapRef"):
        yield Reference("ConfigMap", config_map["name"], None, "spec.workspace.configMapRef")
    if key := spec.get("policy", {}).get("llm", {}).get("apiKeySecretRef"):
        yield Reference("Secret", key["name"], key["key"], "spec.policy.llm.apiKeySecretRef")
    for index, entry in enumerate(spec.get("inputs", [])):
        if key := entry.get("configMapKeyRef"):
            yield Reference("ConfigMap", key["name"], key["key"], f"spec.inputs[{index}]")
    yield from _environment(spec, "spec")
    yield from _environment(spec.get("trainer", {}), "spec.trainer")


def _environment(spec: Object, field_of: str) -> Iterator[Reference]:
    for variable in spec.get("env", []):
        for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            key = variable.get("valueFrom", {}).get(field)
            if key and not key.get("optional"):
                yield Reference(kind, key["name"], key["key"], f"{field_of}.env[{variable['name']}]")
    for index, source in enumerate(spec.get("envFrom", [])):
        for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            named = source.get(field)
            if named and not named.get("optional"):
                yield Reference(kind, named["name"], None, f"{field_of}.envFrom[{index}]")


async def _keys(ctx: Context, kind: str, namespace: str, name: str, field: str) -> frozenset[str] | None:
    read = ctx.cluster.keys_in_secret if kind == "Secret" else ctx.cluster.keys_in_config_map
    try:
        return await read(namespace, name)
    except NotFoundError as error:
        what = f"{kind} {name} does not exist in namespace {namespace}"
        raise _missing(kind, what, "create it", field) from error
    except ForbiddenError:
        # An administrator may keep Secrets from the operator: then the kubelet, who may read them, says what lacks.
        return None


def _missing(kind: str, what: str, remedy: str, field: str) -> StalledError:
    reason = "SecretNotFound" if kind == "Secret" else "ConfigMapNotFound"
    return StalledError(
        reason, f"{what}, which {field} names: {remedy}, and this goes on by itself.", RETRY_S
    )
