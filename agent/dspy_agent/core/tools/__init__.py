"""The tools of a session, one file each. Adding one is a file and a row here."""

from __future__ import annotations

from dspy_agent.core.tools.base import Tool, ToolContext
from dspy_agent.core.tools.edit import Edit
from dspy_agent.core.tools.list_files import ListFiles
from dspy_agent.core.tools.read_file import ReadFile
from dspy_agent.core.tools.run import Run
from dspy_agent.core.tools.run_check import RunCheck
from dspy_agent.core.tools.search import Search
from dspy_agent.core.tools.trial import Trial

__all__ = ["Tool", "ToolContext", "default_tools"]


def default_tools() -> dict[str, Tool]:
    """Every tool that works on the workspace, by name."""
    tools: list[Tool] = [ReadFile(), ListFiles(), Search(), Edit(), RunCheck(), Run(), Trial()]
    return {tool.name: tool for tool in tools}
