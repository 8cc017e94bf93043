"""Objects and settings for tests of the pure parts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dspy_operator.settings import Settings
from dspy_operator.store import Object

MASTER = b"master"
START = datetime(2026, 1, 1, tzinfo=UTC)  # when what is built here was created
UID = "11111111-2222-3333-4444-555555555555"


def settings(token_file: Path, **changes: Any) -> Settings:
    """Complete settings; `token_file` gets a token."""
    token_file.write_bytes(MASTER + b"\n")
    values: dict[str, Any] = {
        "namespace": "system",
        "agent_image": "localhost/dspy-agent/agent:0.1.0",
        "env_runner_image": "localhost/dspy-agent/env-runner:0.1.0",
        "runner_image": "localhost/dspy-agent/sandbox-python:0.1.0",
        "reddb_url": "redis://reddb.system.svc:6380",
        "reddb_http_url": "http://reddb.system.svc:8082",
        "reddb_token_file": token_file,
        **changes,
    }
    return Settings(**values)


def owner(name: str, status: Object | None = None, /, **spec: Any) -> Object:
    """A session or task as the store keeps it."""
    metadata: Object = {
        "name": name,
        "namespace": "team",
        "uid": UID,
        "resourceVersion": "7",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {},
    }
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def pod(
    *, attempt: int = 1, created: str = "2026-01-01T00:00:00Z", node: str | None = None, **status: Any
) -> Object:
    """A pod of `owner`, as the store keeps it."""
    reference = {
        "apiVersion": "dspyagent.io/v1alpha1",
        "kind": "AgentSession",
        "name": "fix",
        "uid": UID,
        "controller": True,
    }
    metadata = {
        "name": "fix",
        "namespace": "team",
        "uid": f"pod-{attempt}",
        "resourceVersion": "8",
        "creationTimestamp": created,
        "annotations": {"dspyagent.io/attempt": str(attempt)},
        "ownerReferences": [reference],
    }
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": "Pending", **status}}
