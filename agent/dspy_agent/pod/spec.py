"""The AgentSession as the operator hands it over; its schema was checked by the apiserver, so this reads leniently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from dspy_agent.core.budget import Limits
from dspy_agent.core.policy import Task
from dspy_agent.errors import SettingsError

# What `read` raises for an object that is no AgentSession.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, InvalidOperation)
CHECK_TIMEOUT_SECONDS = 300.0
SETUP_TIMEOUT_SECONDS = 600.0
PROMPT = "Make the check pass."


@dataclass(frozen=True)
class Setup:
    """A command that runs once in the fresh workspace."""

    command: tuple[str, ...]
    timeout_seconds: float


@dataclass(frozen=True)
class SessionSpec:
    """`task` is None for an interactive session; `workspace` is the CRD's object as it is; `network`: do commands ask
    for it?"""

    namespace: str
    name: str
    uid: str
    policy: str
    policy_options: Mapping[str, Any]
    task: Task | None
    setup: Setup | None
    limits: Limits
    workspace: Mapping[str, Any] = field(default_factory=dict)
    network: bool = False

    @property
    def log_key(self) -> str:
        """The RedDB stream of the session's events."""
        return f"session/{self.namespace}/{self.name}/{self.uid}/events"


def parse(text: str) -> SessionSpec:
    """From DSPY_AGENT_SESSION. Raises SettingsError that names what is wrong."""
    try:
        return read(json.loads(text))
    except UNREADABLE as error:
        raise SettingsError(f"DSPY_AGENT_SESSION is not an AgentSession in JSON: {error!r}.") from error


def read(session: Mapping[str, Any]) -> SessionSpec:
    """From metadata and spec. Raises one of UNREADABLE."""
    metadata, spec = session["metadata"], session["spec"]
    policy, options = _policy(spec.get("policy") or {})
    workspace = spec.get("workspace") or {}
    return SessionSpec(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        policy=policy,
        policy_options=options,
        task=_task(spec.get("task")),
        setup=_setup(workspace.get("setup")),
        limits=_limits(spec.get("budget") or {}),
        workspace=workspace,
        network=_network(spec.get("network") or {}),
    )


def _policy(policy: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if "trainingJobRef" in policy:
        return "trainingJobRef", policy["trainingJobRef"]
    name = next(iter(policy), "search")
    return name, policy.get(name) or {}


def _task(task: Mapping[str, Any] | None) -> Task | None:
    if not task:
        return None
    check = task.get("check") or {}
    return Task(
        prompt=task.get("prompt") or PROMPT,
        check=tuple(check.get("command") or ()),
        check_timeout_seconds=float(check.get("timeoutSeconds") or CHECK_TIMEOUT_SECONDS),
        protected_paths=tuple(task.get("protectedPaths") or ()),
    )


def _setup(setup: Mapping[str, Any] | None) -> Setup | None:
    if not setup or not setup.get("command"):
        return None
    return Setup(tuple(setup["command"]), float(setup.get("timeoutSeconds") or SETUP_TIMEOUT_SECONDS))


def _network(network: Mapping[str, Any]) -> bool:
    return (network.get("egress") or {}).get("mode") == "Allow"


def _limits(budget: Mapping[str, Any]) -> Limits:
    return Limits(
        turns=budget.get("turns"),
        tokens=budget.get("tokens"),
        usd=Decimal(budget["usd"]) if budget.get("usd") else None,
        seconds=float(budget["seconds"]) if budget.get("seconds") else None,
    )
