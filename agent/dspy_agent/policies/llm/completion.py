"""The tool `llm`: one completion from an OpenAI-compatible endpoint, through dspy's LM layer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import wait
from decimal import Decimal
from typing import Any, ClassVar

import dspy  # type: ignore[import-untyped]
from dspy import lm15
from dspy.utils import exceptions as dspy_errors  # type: ignore[import-untyped]

from dspy_agent.core.background import in_background
from dspy_agent.core.tools import Tool, ToolContext
from dspy_agent.errors import (
    PolicyEndpointRateLimited,
    PolicyEndpointRefused,
    PolicyEndpointUnreachable,
    ToolError,
    UnsupportedPolicy,
)

RETRIES = 4
TIMEOUT_SECONDS = 300.0
# In a session without budget.seconds: limits per minute pass by then, limits per day do not.
LONGEST_RATE_LIMIT_SECONDS = 900.0
LONGEST_PAUSE_SECONDS = 60.0
MILLION = Decimal(1_000_000)
# Asked again and still no answer: it is not reachable. Everything else is a refusal.
UNREACHABLE = (dspy_errors.LMTransportError, dspy_errors.LMTimeoutError, dspy_errors.LMServerError)


class Completion(Tool):
    """`{"messages": [{"role", "content"}]}` → `{"text", "usage": {"input_tokens", "output_tokens", "total_tokens"}}`.

    `usage` holds `usd` when prices are set. No call outlasts budget.seconds. Raises PolicyEndpointUnreachable,
    PolicyEndpointRefused and PolicyEndpointRateLimited, which end the session, and ToolError ContextWindowExceeded and
    BudgetExhausted, to which the policy reacts.
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
        self._retries = int(options.get("retries", RETRIES))
        self._lm = dspy.LM(
            self._model,
            api_base=self._endpoint,
            # An endpoint without keys still wants the header to be there.
            api_key=options.get("apiKey") or "none",
            cache=False,
            num_retries=0,  # `_patiently` repeats requests: it knows the budget
            timeout=TIMEOUT_SECONDS,
            engine="lm15",
        )

    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        response = self._patiently(self._request(arguments["messages"]), context)
        return {"text": _encodable(response.text or ""), "usage": self._usage(response.usage)}

    def _patiently(self, request: lm15.Request, context: ToolContext) -> Any:
        """The response; asks again while the endpoint is away or too busy, but not past the budget."""
        failures, limited, waited = 0, 0, 0.0
        while True:
            try:
                return self._ask(request, context.seconds_left())
            except dspy_errors.LMRateLimitError as error:
                pause, limited = _pause(error, limited), limited + 1
                if pause > min(LONGEST_RATE_LIMIT_SECONDS - waited, context.seconds_left()):
                    raise self._rate_limited(error, waited) from error
            except UNREACHABLE as error:
                pause, failures = _pause(error, failures), failures + 1
                if failures > self._retries or pause > context.seconds_left():
                    raise PolicyEndpointUnreachable(
                        f"The model endpoint {self._endpoint} does not answer ({_first_line(error)}); check "
                        "that the address is right and can be reached from where the agent runs."
                    ) from error
            time.sleep(pause)
            waited += pause

    def _ask(self, request: lm15.Request, seconds_left: float) -> Any:
        """One request, given up at the deadline however the endpoint keeps the connection busy."""
        timeout = min(TIMEOUT_SECONDS, seconds_left)
        future = in_background(lambda: self._complete(request), "completion")
        if wait([future], timeout).done:
            return future.result()
        if timeout < TIMEOUT_SECONDS:
            raise ToolError(
                "BudgetExhausted",
                "The model did not answer before the budget's seconds were spent; raise budget.seconds to go on.",
            )
        raise dspy_errors.LMTimeoutError(f"no answer within {TIMEOUT_SECONDS:g} s")

    def _complete(self, request: lm15.Request) -> Any:
        try:
            with dspy.context(disable_history=True):
                return self._lm(request)
        except dspy_errors.ContextWindowExceededError as error:
            raise ToolError(
                "ContextWindowExceeded", "The prompt is longer than the model's context window."
            ) from error
        except (dspy_errors.LMRateLimitError, *UNREACHABLE):
            raise
        except dspy_errors.LMError as error:
            raise PolicyEndpointRefused(
                f"The model endpoint {self._endpoint} refuses the request ({_first_line(error)}); check "
                "policy.llm.model and its API key."
            ) from error

    def _rate_limited(self, error: Exception, waited: float) -> PolicyEndpointRateLimited:
        return PolicyEndpointRateLimited(
            f"The model endpoint {self._endpoint} limits the rate of requests, still after {waited:.0f} s "
            f"({_first_line(error)}); run fewer sessions at a time, ask for a higher limit, or raise budget.seconds."
        )

    def _request(self, messages: list[dict[str, str]]) -> lm15.Request:
        by_role = {
            role: [_encodable(message["content"]) for message in messages if message["role"] == role]
            for role in ("system", "user")
        }
        system = "\n\n".join(by_role["system"])
        turns = tuple(map(lm15.Message.user, by_role["user"]))
        return lm15.Request(model=self._model, system=system or None, messages=turns, config=self._config)

    def _usage(self, usage: Any) -> dict[str, Any]:
        """What the endpoint counted; an endpoint that does not count yields 0, never a guess."""
        sent, said = (usage.input_tokens or 0, usage.output_tokens or 0) if usage else (0, 0)
        counted: dict[str, Any] = {"input_tokens": sent, "output_tokens": said, "total_tokens": sent + said}
        if any(self._prices):
            counted["usd"] = str((sent * self._prices[0] + said * self._prices[1]) / MILLION)
        return counted


def _pause(error: Exception, times: int) -> float:
    """Seconds until the next attempt: what the endpoint asks for, else 1, 2, 4 and so on."""
    asked: float | None = getattr(error, "retry_after", None)
    return float(min(2**times, LONGEST_PAUSE_SECONDS)) if asked is None else asked


def _encodable(text: str) -> str:
    """Half of a surrogate pair, which JSON can carry and no file or request can, becomes a question mark."""
    return text.encode(errors="replace").decode()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
