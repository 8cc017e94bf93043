"""run: a command in a fork of the current state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dspy_agent.core.runner import Command
from dspy_agent.core.tools.arguments import STRINGS, argv_argument, seconds_argument
from dspy_agent.core.tools.base import Tool, ToolContext, exec_value

OUTPUT_CHARACTERS = 16 * 1024
TIMEOUT_SECONDS = 60.0


class Run(Tool):
    """`{"argv", "timeout_seconds"?}` → `{"exit_code", "signal", "reason", "stdout_tail", "stderr_tail", ...}`."""

    name = "run"
    description = (
        "Run a command (an array of arguments, no shell) in a copy of the workspace with the edits so far. "
        "What the command writes is thrown away."
    )
    parameters: ClassVar[Mapping[str, Any]] = {
        "argv": {**STRINGS, "description": "the command and its arguments"},
        "timeout_seconds": {"type": "number", "description": "default 60"},
    }
    required = ("argv",)

    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        timeout = seconds_argument(arguments, "timeout_seconds", TIMEOUT_SECONDS)
        command = Command(argv_argument(arguments, "argv"), context.bounded_timeout(timeout))
        return exec_value(context.workspace.execute(command), OUTPUT_CHARACTERS)
