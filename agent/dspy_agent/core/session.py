"""One task from its failing check to its outcome, the same in a pod and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dspy_agent.core.budget import Budget, Limits
from dspy_agent.core.journal import Journal
from dspy_agent.core.loop import Loop
from dspy_agent.core.outcome import Outcome
from dspy_agent.core.policy import Context, EagerPolicy, Finish, Policy, Task
from dspy_agent.core.runner import MAIN, Command, ExecResult
from dspy_agent.core.tools.base import Tool, ToolContext, exec_value, is_protected
from dspy_agent.core.tools.run_check import check_command
from dspy_agent.errors import CannotStart, CheckAlreadyPasses, CheckCannotStart, CheckTimedOut

CHECK_OUTPUT_CHARACTERS = 32 * 1024

StorePatch = Callable[[str], str | None]
Verdict = tuple[Literal["Solved", "Unsolved"], str, str]  # outcome, reason, message
NOT_STARTED = ExecResult(None, None, "CannotStart", "", "", 0, 0, 0.0)


def started_data(policy: str, task: Task | None, limits: Limits) -> dict[str, Any]:
    """The data of the session_started event: what was asked for, and within which limits (null: none)."""
    return {
        "policy": policy,
        "prompt": task.prompt if task else "",
        "check": list(task.check) if task else [],
        "protected_paths": list(task.protected_paths) if task else [],
        "budget": {
            "turns": limits.turns,
            "tokens": limits.tokens,
            "usd": None if limits.usd is None else str(limits.usd),
            "seconds": limits.seconds,
        },
    }


@dataclass
class TaskRun:
    """The parts of a run. `store_patch` keeps the patch somewhere and returns its reference."""

    policy: Policy
    tools: Mapping[str, Tool]
    tool_context: ToolContext
    journal: Journal
    budget: Budget
    store_patch: StorePatch

    def run(self) -> Outcome:
        """check → policy → patch → check. Raises SessionError, RunnerError, StoreError, ReplayMismatch."""
        loop = Loop(self.tools, self.tool_context, self.journal, self.budget)
        before = self._check_before(loop)
        context = Context(check_before=before, concurrency=self.tool_context.concurrency)
        finish = loop.run(self.policy, context)
        # The patch is taken before the check runs on main: the check may leave files behind.
        diff = self.tool_context.workspace.diff()
        patch_ref = self.store_patch(diff.patch) if diff.patch else None
        after = self._check_after(diff.patch)
        return self._outcome(self._judged(finish, after, diff.files), after, diff.patch, patch_ref)

    def _check_before(self, loop: Loop) -> Mapping[str, Any]:
        recorded = self.journal.recorded("check_before")
        if not recorded and isinstance(self.policy, EagerPolicy):
            loop.begin(self.policy.first_call(self.tool_context.task))
        value = recorded.data if recorded else self._run_check_before()
        if value["exit_code"] == 0:
            raise CheckAlreadyPasses(
                "The check passes before any change; give a check that fails until solved."
            )
        if value["reason"] == "TimedOut":
            raise self._timed_out(value["seconds"])
        return value

    def _timed_out(self, seconds: float) -> CheckTimedOut:
        timeout, budget = self.tool_context.task.check_timeout_seconds, self.budget.limits.seconds
        if budget is not None and seconds < timeout:
            return CheckTimedOut(
                f"The check did not end within the budget of {budget:g} s; raise budget.seconds or give a quicker "
                "check."
            )
        return CheckTimedOut(
            f"The check did not end within {timeout:g} s; raise its timeout or give a quicker check."
        )

    def _run_check_before(self) -> Mapping[str, Any]:
        try:
            result = self.tool_context.workspace.execute(check_command(self.tool_context))
        except CannotStart as error:
            command = list(self.tool_context.task.check)
            raise CheckCannotStart(f"The check {command} cannot be started: {error}") from error
        return self.journal.append("check_before", self._check_value(result)).data

    def _check_after(self, patch: str) -> Mapping[str, Any]:
        """The verdict. It may take the check's whole timeout, even when the budget is spent: a repair that was found
        in time counts."""
        if recorded := self.journal.recorded("check_after"):
            return recorded.data
        try:
            task = self.tool_context.task
            command = Command(argv=task.check, timeout_seconds=task.check_timeout_seconds)
            value = self._check_value(self.tool_context.workspace.runner.execute(command, MAIN))
        except CannotStart as error:
            # An edit may have removed what the check starts: that is a failed repair, not our error.
            value = {**self._check_value(NOT_STARTED), "stderr_tail": str(error)}
        return self.journal.append("check_after", {**value, "patch": patch[:CHECK_OUTPUT_CHARACTERS]}).data

    def _check_value(self, result: ExecResult) -> dict[str, Any]:
        return {"command": list(self.tool_context.task.check), **exec_value(result, CHECK_OUTPUT_CHARACTERS)}

    def _judged(self, finish: Finish, after: Mapping[str, Any], changed: Sequence[str]) -> Verdict:
        """The tools refuse protected paths; what an edit changed through a link of the setup's making shows here."""
        protected = [path for path in changed if is_protected(path, self.tool_context.task.protected_paths)]
        if protected:
            message = (
                f"The edits changed {protected[0]}, which is protected by the task; the check proves nothing."
            )
            return "Unsolved", "ProtectedPathChanged", message
        if after["exit_code"] == 0:
            return "Solved", "CheckPassed", finish.summary
        return "Unsolved", finish.reason if finish.reason != "Done" else "PolicyGaveUp", finish.summary

    def _outcome(
        self, verdict: Verdict, after: Mapping[str, Any], patch: str, patch_ref: str | None
    ) -> Outcome:
        outcome, reason, message = verdict
        return Outcome(
            outcome=outcome,
            reason=reason,
            message=message,
            check_exit_code=after["exit_code"],
            patch=patch,
            patch_ref=patch_ref,
            turns=self.budget.turns,
            tokens=self.budget.tokens,
            seconds=self.budget.seconds,
            candidates_run=self.tool_context.candidates_run,
        )
