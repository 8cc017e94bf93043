"""The pod of an AgentPool: a session's pod without a session, and the change that makes it a session's.

Nothing of a session is in it: what one needs is bound into the running pod, so that one difference between two
sessions never costs a cold start.
"""

from __future__ import annotations

import hashlib

from dspy_operator import names
from dspy_operator.desired import pod_parts as parts
from dspy_operator.desired.session_pod import agent_container, pod_spec, runner_container
from dspy_operator.settings import Settings
from dspy_operator.store import Object
from dspy_operator.tokens import fingerprint, scoped_token


def warm_pod(pool: Object, settings: Settings, master_token: bytes, name: str) -> Object:
    """The manifest, under that name."""
    made = _rendered(pool, settings, master_token, name)
    annotations = {names.ANNOTATION_TEMPLATE_HASH: template_hash(pool, settings, master_token)}
    made["metadata"]["annotations"] = annotations
    return made


def template_hash(pool: Object, settings: Settings, master_token: bytes) -> str:
    """Of all that a warm pod is made from: the template, the operator's own images and settings, the master token."""
    rendered = parts.compact_json(_rendered(pool, settings, master_token, ""))
    return hashlib.sha256(rendered.encode()).hexdigest()[:16]


def bind_token(master_token: bytes, namespace: str, name: str) -> str:
    """What the agent of a warm pod takes a session for. Only its fingerprint is in the pod."""
    return scoped_token(master_token, names.bind_prefix(namespace, name))


def claim(session: Object, pool: str, attempt: int) -> Object:
    """The merge patch that takes a pod from its pool and makes it the session's."""
    meta = parts.metadata(names.AGENT_SESSIONS, session, "", attempt)
    return {
        "metadata": {
            "labels": {**meta["labels"], names.LABEL_POOL: None, names.LABEL_CLAIMED_FROM: pool},
            "annotations": meta["annotations"],
            "ownerReferences": meta["ownerReferences"],
        }
    }


def _rendered(pool: Object, settings: Settings, master_token: bytes, name: str) -> Object:
    template = pool["spec"].get("template", {})
    token = bind_token(master_token, pool["metadata"]["namespace"], name)
    agent = agent_container(
        settings,
        "warm",
        [
            parts.env("DSPY_AGENT_BIND_TOKEN_SHA256", fingerprint(token)),
            parts.env("DSPY_AGENT_BOUND_DIR", parts.BOUND),
        ],
    )
    agent["volumeMounts"].append(parts.mount("bound", parts.BOUND))
    runner = runner_container(settings, {}, template, ["--network", "none", "--bindable"])
    spec = pod_spec(settings, template, runner, agent)
    spec["volumes"].append(parts.empty_dir("bound"))
    meta = parts.metadata(names.AGENT_POOLS, pool, name, attempt=1)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
