"""What a policy is: a generator that yields tool calls, receives observations and returns why it finished.

    def steps(self, task, context):
        listing = yield ToolCall("list_files", {"glob": "src/**/*.py"})
        for path in listing.value["files"]: ...
        yield ToolCall("edit", {"path": "src/a.py", "old": "<=", "new": "<"})
        return Finish("Done", "Changed the bound in src/a.py.")

A policy does no I/O of its own and reads neither clock nor unseeded randomness: after a restart the loop feeds it the
recorded observations, and it must yield the same calls again. What it may depend on is in `Task` and `Context`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

FinishReason = Literal["Done", "CandidatesExhausted", "PolicyGaveUp", "BudgetExhausted"]


@dataclass(frozen=True)
class ToolCall:
    """One call of a tool by its name; the arguments are plain JSON values (see `core/tools/<tool>.py`)."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What came back: the tool's JSON value, or `{"code", "message"}` when `ok` is false.

    A failed call (a missing file, an ambiguous edit) is an observation, not an exception: the policy decides.
    """

    ok: bool
    value: Mapping[str, Any]


@dataclass(frozen=True)
class Finish:
    """Why the policy stopped, and one sentence for the person who asked.

    `Done` claims success; whether it is one is decided by the check, which the session runs afterwards.
    """

    reason: FinishReason
    summary: str


@dataclass(frozen=True)
class Task:
    """What is to be done. `check` is an argument array that exits 0 once the task is solved."""

    prompt: str
    check: tuple[str, ...]
    check_timeout_seconds: float = 300.0
    protected_paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a policy may know besides the task; equal in every replay of the same session.

    `check_before` is the value of `run_check` on the untouched workspace (exit_code, signal, reason, stdout_tail,
    stderr_tail, seconds). `concurrency` is how many forks a trial runs side by side when the call does not say.
    """

    check_before: Mapping[str, Any]
    concurrency: int = 2
    seed: int = 0


class Policy(Protocol):
    """Decides the next tool call from what it has observed so far."""

    def steps(self, task: Task, context: Context) -> Generator[ToolCall, Observation, Finish]:
        """Yield calls until done. Closing the generator (budget spent) must be harmless."""
        ...


@runtime_checkable
class EagerPolicy(Policy, Protocol):
    """A policy whose first call does not depend on how the check ends before any change.

    That call then runs beside the check, in another fork. `steps` must yield the same call first.
    """

    def first_call(self, task: Task) -> ToolCall: ...
