"""run_check: the task's check in a fork of the current state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dspy_agent.core.runner import Command
from dspy_agent.core.tools.base import Tool, ToolContext, exec_value

OUTPUT_CHARACTERS = 16 * 1024


class RunCheck(Tool):
    """`{}` → `{"exit_code", "signal", "reason", "stdout_tail", "stderr_tail", ...}`; exit code 0 is success."""

    name = "run_check"
    description = (
        "Run the task's check on the workspace with the edits so far; exit code 0 means that it passes."
    )
    parameters: ClassVar[Mapping[str, Any]] = {}

    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        del arguments
        context.count_candidates(1)
        return exec_value(context.workspace.execute(check_command(context)), OUTPUT_CHARACTERS)

    def replay(self, context: ToolContext, arguments: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        del arguments, value
        context.count_candidates(1)


def check_command(context: ToolContext) -> Command:
    """The task's check as the runner takes it."""
    timeout = context.bounded_timeout(context.task.check_timeout_seconds)
    return Command(argv=context.task.check, timeout_seconds=timeout)
