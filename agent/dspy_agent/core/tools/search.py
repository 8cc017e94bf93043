"""search: lines of the workspace that match a regular expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dspy_agent.core.tools.arguments import text_argument
from dspy_agent.core.tools.base import Tool, ToolContext

LIMIT_MATCHES = 200
LIMIT_LINE_CHARACTERS = 400


class Search(Tool):
    """`{"pattern", "glob"?}` → `{"matches": [{"path", "line", "text"}, ...], "truncated"}`."""

    name = "search"
    description = (
        "Find the lines that match a regular expression, in all files or in those that match a glob."
    )
    parameters: ClassVar[Mapping[str, Any]] = {
        "pattern": {"type": "string", "description": "regular expression (no look-around)"},
        "glob": {"type": "string", "description": "only these files, for example **/*.py"},
    }
    required = ("pattern",)

    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        pattern = text_argument(arguments, "pattern")
        glob = text_argument(arguments, "glob", "**")
        matches, truncated = context.workspace.runner.search(pattern, glob, LIMIT_MATCHES)
        found = [
            {"path": match.path, "line": match.line, "text": match.text[:LIMIT_LINE_CHARACTERS]}
            for match in matches
        ]
        return {"matches": found, "truncated": truncated}
