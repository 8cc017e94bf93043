"""Policies that do what a test wrote down."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from dspy_agent.core.policy import Context, Finish, Observation, Task, ToolCall

DONE = Finish("Done", "The script ended.")


@dataclass
class Script:
    """Yields the calls in order and keeps what it observed."""

    calls: Sequence[ToolCall]
    finish: Finish = DONE
    observed: list[Observation] = field(default_factory=list)

    def steps(self, task: Task, context: Context) -> Generator[ToolCall, Observation, Finish]:
        for call in self.calls:
            self.observed.append((yield call))
        return self.finish


def call(tool: str, **arguments: object) -> ToolCall:
    return ToolCall(tool, arguments)
