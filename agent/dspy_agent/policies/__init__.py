"""Policies by name. A policy is one file (or package) and one row here; it is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from dspy_agent.core.policy import Policy
from dspy_agent.core.tools import Tool, default_tools
from dspy_agent.errors import UnsupportedPolicy

# name → module with `create(options) -> Policy`; options are the session's spec.policy.<name>.
_MODULES = {
    "search": "dspy_agent.policies.search",
    "llm": "dspy_agent.policies.llm",
}


def create_policy(name: str, options: Mapping[str, Any]) -> Policy:
    """The policy of that name. Raises UnsupportedPolicy, which lists the names that there are."""
    if name not in _MODULES:
        known = ", ".join(sorted(_MODULES))
        raise UnsupportedPolicy(f"There is no policy {name!r} in this version; choose one of: {known}.")
    create: Callable[[Mapping[str, Any]], Policy] = import_module(_MODULES[name]).create
    return create(options)


def tools_for(name: str, options: Mapping[str, Any]) -> dict[str, Tool]:
    """The tools of that policy: those of the workspace, and what the policy brings itself (`tools(options)`)."""
    own = getattr(import_module(_MODULES[name]), "tools", None)
    return default_tools() | (own(options) if own else {})
