"""What a warm pod's agent is told of its session, Secrets' values included: made for one request, and kept nowhere."""

from __future__ import annotations

import asyncio
import base64
import json

from dspy_operator import errors, names
from dspy_operator.agents import MAX_BODY_BYTES
from dspy_operator.desired import environment
from dspy_operator.errors import NotBindableError
from dspy_operator.reconcile.context import Context
from dspy_operator.reconcile.references import verify
from dspy_operator.store import Object
from dspy_operator.tokens import scoped_token

# What the agent takes, and a command of it could be given.
_MAX_ENVIRONMENT_BYTES = 2**20
# By kind and name, as stored; what does not exist is absent.
_Stored = dict[tuple[str, str], Object]


async def request(ctx: Context, session: Object) -> bytes:
    """The request's body. Raises NotBindableError where a warm pod cannot be told all that a cold one would have,
    StalledError where something that the session needs is missing.
    """
    spec = session["spec"]
    identity = {key: session["metadata"][key] for key in ("namespace", "name", "uid")}
    stored = await _read(ctx, identity["namespace"], _named(spec))
    verify(identity["namespace"], spec, {key: _keys(key[0], found) for key, found in stored.items()})
    sources = {key: environment.contents(key[0], found) for key, found in stored.items()}
    master = ctx.settings.reddb_token()
    variables = environment.resolve(spec, sources)
    _check_size(variables)
    body = {
        "session": {"metadata": identity, "spec": spec},
        "environment": variables,
        "reddbToken": scoped_token(master, names.session_prefix(**identity)),
        "llmApiKey": _llm_key(spec, stored),
        "workspaceSource": _workspace_source(spec, stored),
        "gitSecret": _git_secret(spec, stored),
    }
    data = json.dumps(body).encode()
    if len(data) > MAX_BODY_BYTES:
        raise NotBindableError("Its environment and its workspace's ConfigMap exceed 4 MiB together.")
    return data


def _check_size(variables: list[dict[str, str]]) -> None:
    size = sum(len(each["name"].encode()) + len(each["value"].encode()) for each in variables)
    if size > _MAX_ENVIRONMENT_BYTES:
        raise NotBindableError("Its environment exceeds 1 MiB.")


def _named(spec: Object) -> set[tuple[str, str]]:
    """Everything that has to be read."""
    found = environment.named(spec)
    workspace = spec.get("workspace", {})
    if config_map := workspace.get("configMapRef"):
        found.add(("ConfigMap", config_map["name"]))
    if secret := workspace.get("git", {}).get("secretRef"):
        found.add(("Secret", secret["name"]))
    if key := spec.get("policy", {}).get("llm", {}).get("apiKeySecretRef"):
        found.add(("Secret", key["name"]))
    return found


async def _read(ctx: Context, namespace: str, wanted: set[tuple[str, str]]) -> _Stored:
    ordered = sorted(wanted)
    found = await asyncio.gather(*(_read_one(ctx, namespace, kind, name) for kind, name in ordered))
    return {key: stored for key, stored in zip(ordered, found, strict=True) if stored is not None}


async def _read_one(ctx: Context, namespace: str, kind: str, name: str) -> Object | None:
    try:
        if kind == "Secret":
            return await ctx.cluster.secret(namespace, name)
        return await ctx.cluster.config_map(namespace, name)
    except errors.NotFoundError:
        return None
    except errors.ForbiddenError as error:
        raise NotBindableError(
            f"The operator may not read {kind} {name}, which its warm pod needs."
        ) from error


def _keys(kind: str, found: Object) -> frozenset[str]:
    if kind == "Secret":
        return frozenset(found)
    return frozenset(found.get("data") or ()) | frozenset(found.get("binaryData") or ())


def _llm_key(spec: Object, stored: _Stored) -> str | None:
    reference = spec.get("policy", {}).get("llm", {}).get("apiKeySecretRef")
    if reference is None:
        return None
    try:
        return base64.b64decode(stored["Secret", reference["name"]][reference["key"]]).decode()
    except UnicodeDecodeError:
        raise NotBindableError(f"The key in Secret {reference['name']} is not text.") from None


def _workspace_source(spec: Object, stored: _Stored) -> dict[str, str] | None:
    reference = spec.get("workspace", {}).get("configMapRef")
    if reference is None:
        return None
    found = stored["ConfigMap", reference["name"]]
    texts = {
        key: base64.b64encode(value.encode()).decode() for key, value in (found.get("data") or {}).items()
    }
    return {**texts, **(found.get("binaryData") or {})}


def _git_secret(spec: Object, stored: _Stored) -> dict[str, str] | None:
    reference = spec.get("workspace", {}).get("git", {}).get("secretRef")
    return None if reference is None else dict(stored["Secret", reference["name"]])
