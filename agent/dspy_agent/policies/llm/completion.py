"""The tool `llm`: one completion from an OpenAI-compatible endpoint, through dspy's LM layer."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

import dspy  # type: ignore[import-untyped]
from dspy import lm15
from dspy.utils import exceptions as dspy_errors  # type: ignore[import-untyped]

from dspy_agent.core.tools import Tool, ToolContext
from dspy_agent.errors import PolicyEndpointRefused, PolicyEndpointUnreachable, ToolError, UnsupportedPolicy

RETRIES = 4
TIMEOUT_SECONDS = 300.0
MILLION = Decimal(1_000_000)
# Asked again and still no answer: it is not reachable. Everything else is a refusal.
UNREACHABLE = (dspy_errors.LMTransportError, dspy_errors.LMTimeoutError, dspy_errors.LMServerError)


class Completion(Tool):
    """`{"messages": [{"role", "content"}]}` → `{"text", "usage": {"input_tokens", "output_tokens", "total_tokens"}}`.

    `usage` holds `usd` when prices are set. Raises PolicyEndpointUnreachable and PolicyEndpointRefused, which end the
    session, and ToolError ContextWindowExceeded, to which the policy reacts.
    """

    name = "llm"
    description = "Ask the model."
    parameters: ClassVar[Mapping[str, Any]] = {"messages": {"type": "array"}}
    required = ("messages",)
    turns = 1

    def __init__(self, options: Mapping[str, Any]) -> None:
        for name in ("endpoint", "model"):
            if not options.get(name):
                raise UnsupportedPolicy(f"policy.llm.{name} is missing.")
        self._endpoint = str(options["endpoint"])
        self._model = f"openai/{options['model']}"
        self._prices = [Decimal(str(options.get(f"usdPerMillion{way}") or 0)) for way in ("Input", "Output")]
        self._config = lm15.Config(
            temperature=float(options["temperature"]) if options.get("temperature") else None,
            max_tokens=options.get("maxTokens"),
        )
        self._lm = dspy.LM(
            self._model,
            api_base=self._endpoint,
            # An endpoint without keys still wants the header to be there.
            api_key=options.get("apiKey") or "none",
            cache=False,
            num_retries=int(options.get("retries", RETRIES)),
            timeout=TIMEOUT_SECONDS,
            engine="lm15",
        )

    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        del context
        request = self._request(arguments["messages"])
        try:
            with dspy.context(disable_history=True):
                response = self._lm(request)
        except dspy_errors.ContextWindowExceededError as error:
            raise ToolError(
                "ContextWindowExceeded", "The prompt is longer than the model's context window."
            ) from error
        except UNREACHABLE as error:
            raise PolicyEndpointUnreachable(
                f"The model endpoint {self._endpoint} does not answer ({_first_line(error)}); check "
                "policy.llm.endpoint and network.egress."
            ) from error
        except dspy_errors.LMError as error:
            raise PolicyEndpointRefused(
                f"The model endpoint {self._endpoint} refuses the request ({_first_line(error)}); check "
                "policy.llm.model and its API key."
            ) from error
        return {"text": response.text or "", "usage": self._usage(response.usage)}

    def _request(self, messages: list[dict[str, str]]) -> lm15.Request:
        system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
        turns = tuple(
            lm15.Message.user(message["content"]) for message in messages if message["role"] == "user"
        )
        return lm15.Request(model=self._model, system=system or None, messages=turns, config=self._config)

    def _usage(self, usage: Any) -> dict[str, Any]:
        """What the endpoint counted; an endpoint that does not count yields 0, never a guess."""
        sent, said = (usage.input_tokens or 0, usage.output_tokens or 0) if usage else (0, 0)
        counted: dict[str, Any] = {"input_tokens": sent, "output_tokens": said, "total_tokens": sent + said}
        if any(self._prices):
            counted["usd"] = str((sent * self._prices[0] + said * self._prices[1]) / MILLION)
        return counted


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
