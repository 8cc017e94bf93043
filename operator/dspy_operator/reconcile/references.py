"""Secrets and ConfigMaps that a spec names: looked for before a pod would wait for them in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dspy_operator.errors import ForbiddenError, NotFoundError, StalledError
from dspy_operator.reconcile.context import Context
from dspy_operator.store import Object

RETRY_S = 10.0


class Hidden:
    """Of what the operator may not read. Then the kubelet, who may, says what lacks."""


class Reference(NamedTuple):
    """A Secret or ConfigMap, and a key in it where one is named. `field` is where the spec says so."""

    kind: str
    name: str
    key: str | None
    field: str


async def check(ctx: Context, namespace: str, spec: Object) -> None:
    """Raises StalledError for the first thing that is missing. Reads nothing twice."""
    wanted = sorted({(reference.kind, reference.name) for reference in referenced(spec)})
    found = await asyncio.gather(*(_keys(ctx, kind, namespace, name) for kind, name in wanted))
    verify(
        namespace, spec, {each: keys for each, keys in zip(wanted, found, strict=True) if keys is not None}
    )


def verify(namespace: str, spec: Object, keys: Mapping[tuple[str, str], frozenset[str] | Hidden]) -> None:
    """Raises StalledError for the first thing that is missing among what was read: keys by kind and name."""
    for kind, name, key, field in referenced(spec):
        known = keys.get((kind, name))
        if known is None:
            what = f"{kind} {name} does not exist in namespace {namespace}"
            raise _missing(kind, what, "create it", field)
        if key is not None and not isinstance(known, Hidden) and key not in known:
            what, remedy = f"{kind} {name} has no key {key}", f"add the key {key} to it"
            raise _missing(kind, what, remedy, field)


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


async def _keys(ctx: Context, kind: str, namespace: str, name: str) -> frozenset[str] | Hidden | None:
    read = ctx.cluster.keys_in_secret if kind == "Secret" else ctx.cluster.keys_in_config_map
    try:
        return await read(namespace, name)
    except NotFoundError:
        return None
    except ForbiddenError:
        return Hidden()


def _missing(kind: str, what: str, remedy: str, field: str) -> StalledError:
    reason = "SecretNotFound" if kind == "Secret" else "ConfigMapNotFound"
    return StalledError(
        reason, f"{what}, which {field} names: {remedy}, and this goes on by itself.", RETRY_S
    )
