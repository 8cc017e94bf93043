"""policy.llm: a language model chooses each tool call, through dspy and any OpenAI-compatible endpoint.

Options: `endpoint` (base URL), `model`, `apiKey`, `temperature` (string), `maxTokens`, `contextCharacters`, `retries`,
`usdPerMillionInput` and `usdPerMillionOutput`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dspy_agent.core.policy import Policy
from dspy_agent.core.tools import Tool, default_tools
from dspy_agent.policies.llm.transcript import CONTEXT_CHARACTERS

# dspy fetches a price list from the internet, which a session may not reach; the list that it ships will do.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")

from dspy_agent.policies.llm.completion import Completion
from dspy_agent.policies.llm.policy import LlmPolicy


def create(options: Mapping[str, Any]) -> Policy:
    """The policy; it sees every tool of the workspace."""
    return LlmPolicy(default_tools(), int(options.get("contextCharacters") or CONTEXT_CHARACTERS))


def tools(options: Mapping[str, Any]) -> dict[str, Tool]:
    """The tool `llm`: the model is called like any other tool, so that its answers are recorded and replayed."""
    completion = Completion(options)
    return {completion.name: completion}
