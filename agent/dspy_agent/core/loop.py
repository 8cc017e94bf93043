"""The loop: the policy yields a call, the tool runs, the event is recorded, the policy gets the observation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from decimal import Decimal

from dspy_agent.core.background import in_background
from dspy_agent.core.budget import Budget
from dspy_agent.core.journal import Journal
from dspy_agent.core.policy import Context, Finish, Observation, Policy, ToolCall
from dspy_agent.core.record import bounded, event_type, replay, step_data
from dspy_agent.core.tools.base import Tool, ToolContext
from dspy_agent.errors import CannotStart, RunnerRequestError, ToolError


class Loop:
    """Drives one policy through one session."""

    def __init__(
        self, tools: Mapping[str, Tool], tool_context: ToolContext, journal: Journal, budget: Budget
    ) -> None:
        self.tools = tools
        self.tool_context = tool_context
        self.journal = journal
        self.budget = budget
        self._begun: tuple[ToolCall, Future[tuple[Observation, float]]] | None = None

    def begin(self, call: ToolCall) -> None:
        """Run the call that the policy will yield first already now, in a thread of its own."""
        self._begun = call, in_background(lambda: self._timed(call), "first-call")

    def run(self, policy: Policy, context: Context) -> Finish:
        """Until the policy finishes or the budget is spent.

        Raises ReplayMismatch, RunnerLost, StoreError, and what a tool raises to end the session (SessionError).
        """
        steps = policy.steps(self.tool_context.task, context)
        try:
            call = next(steps)
            while True:
                # A recorded step was within the budget when it ran: replay never ends a session early.
                if not self.journal.replaying and (reason := self.budget.exhausted()):
                    return Finish("BudgetExhausted", reason)
                call = steps.send(self.step(call))
        except StopIteration as stop:
            finish: Finish = stop.value
            return finish
        finally:
            steps.close()

    def step(self, call: ToolCall) -> Observation:
        """One call: from the log if it is there, else run and recorded."""
        tool = self.tools.get(call.tool)
        if recorded := self.journal.recorded(event_type(call)):
            observation = replay(call, recorded)
            if tool and observation.ok:
                tool.replay(self.tool_context, call.arguments, observation.value)
        else:
            observation, seconds = self._result(call)
            keep = tool is not None and tool.mutates
            data = step_data(call, keep, observation, seconds)
            self.journal.append(event_type(call), data)
        self._charge(tool, observation)
        return observation

    def _result(self, call: ToolCall) -> tuple[Observation, float]:
        """The bounded observation and how long it took."""
        begun, self._begun = self._begun, None
        return begun[1].result() if begun and begun[0] == call else self._timed(call)

    def _timed(self, call: ToolCall) -> tuple[Observation, float]:
        started = time.monotonic()
        return bounded(self._observe(call)), time.monotonic() - started

    def _observe(self, call: ToolCall) -> Observation:
        tool = self.tools.get(call.tool)
        if tool is None:
            message = f"There is no tool {call.tool!r}; use one of: {', '.join(sorted(self.tools))}."
            return Observation(False, {"code": "UnknownTool", "message": message})
        try:
            return Observation(True, tool.run(self.tool_context, call.arguments))
        except (ToolError, CannotStart, RunnerRequestError) as error:
            return Observation(False, {"code": error.code, "message": str(error)})

    def _charge(self, tool: Tool | None, observation: Observation) -> None:
        """Replayed steps are charged too: the budget belongs to the session, not to the process."""
        usage = observation.value.get("usage", {}) if observation.ok else {}
        self.budget.charge(
            turns=tool.turns if tool else 0,
            tokens=usage.get("total_tokens", 0),
            usd=Decimal(usage.get("usd") or 0),
        )
