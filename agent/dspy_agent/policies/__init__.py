"""Policies by name. A policy is one file (or package) and one row here; it is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dspy_agent.core.policy import Policy
from dspy_agent.core.tools import Tool, default_tools
from dspy_agent.errors import UnsupportedPolicy

# name → module with `create(options) -> Policy` and, if it brings tools of its own, `tools(options) -> {name: Tool}`;
# options are the session's spec.policy.<name>.
_MODULES = {
    "search": "dspy_agent.policies.search",
    "llm": "dspy_agent.policies.llm",
}


@dataclass(frozen=True)
class Equipment:
    """A policy and the tools that it may call."""

    policy: Policy
    tools: Mapping[str, Tool]


def equip(name: str, options: Mapping[str, Any]) -> Equipment:
    """The policy of that name. Raises UnsupportedPolicy, which lists the names that there are."""
    if name not in _MODULES:
        known = ", ".join(sorted(_MODULES))
        raise UnsupportedPolicy(f"There is no policy {name!r} in this version; choose one of: {known}.")
    module = import_module(_MODULES[name])
    own = module.tools(options) if hasattr(module, "tools") else {}
    return Equipment(module.create(options), default_tools() | own)
