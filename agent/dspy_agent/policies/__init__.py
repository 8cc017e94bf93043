"""Policies by name. A policy is one file (or package) and one factory here; it is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dspy_agent.core.budget import Limits
from dspy_agent.core.policy import Policy
from dspy_agent.core.tools import Tool, default_tools
from dspy_agent.errors import UnsupportedPolicy

Options = Mapping[str, Any]
PRICES = ("usdPerMillionInput", "usdPerMillionOutput")


@dataclass(frozen=True)
class Equipment:
    """A policy and the tools that it may call."""

    policy: Policy
    tools: Mapping[str, Tool]


def equip(name: str, options: Options) -> Equipment:
    """The policy of that name; `options` are the session's spec.policy.<name>.

    Raises UnsupportedPolicy, which lists the names that there are.
    """
    if name not in _FACTORIES:
        known = ", ".join(sorted(_FACTORIES))
        raise UnsupportedPolicy(f"There is no policy {name!r} in this version; choose one of: {known}.")
    return _FACTORIES[name](options)


def preload() -> None:
    """Imports every policy, so that none is imported when a session asks for it."""
    import dspy_agent.policies.llm  # noqa: PLC0415
    import dspy_agent.policies.search  # noqa: PLC0415, F401


def require_prices(name: str, options: Options, limits: Limits) -> None:
    """A budget in money needs prices, else it would never be reached. Raises UnsupportedPolicy when it has none."""
    priced = any(options.get(price) for price in PRICES)
    if name == "llm" and limits.usd is not None and not priced:
        raise UnsupportedPolicy(
            "budget.usd is set, but this version does not know what the model's tokens cost; "
            "set budget.tokens in its place."
        )


def _search(options: Options) -> Equipment:
    from dspy_agent.policies.search import SearchPolicy  # noqa: PLC0415 - each policy loads only when it is used

    limit = options.get("candidates")
    return Equipment(SearchPolicy(limit=int(limit)) if limit else SearchPolicy(), default_tools())


def _llm(options: Options) -> Equipment:
    from dspy_agent.policies.llm import create, tools  # noqa: PLC0415 - dspy takes a second to import

    return Equipment(create(options), default_tools() | tools(options))


_FACTORIES: dict[str, Callable[[Options], Equipment]] = {"search": _search, "llm": _llm}
