"""read_file: a text file, or a range of its lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dspy_agent.core.tools.arguments import clean_path
from dspy_agent.core.tools.base import Tool, ToolContext, read_text
from dspy_agent.errors import ToolError

LIMIT_CHARACTERS = 256 * 1024


class ReadFile(Tool):
    """`{"path", "start"?, "end"?}` (lines from 1, inclusive) → `{"path", "content", "lines", "truncated"}`."""

    name = "read_file"
    description = (
        "Read a text file of the workspace, whole or the lines start to end (counted from 1, inclusive)."
    )
    parameters: ClassVar[Mapping[str, Any]] = {
        "path": {"type": "string", "description": "path relative to the workspace"},
        "start": {"type": "integer", "description": "first line, counted from 1"},
        "end": {"type": "integer", "description": "last line, inclusive"},
    }
    required = ("path",)

    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        path = clean_path(arguments.get("path"))
        text = read_text(context.workspace, path)
        lines = text.splitlines(keepends=True)
        start, end = arguments.get("start"), arguments.get("end")
        if start is not None or end is not None:
            first, last = _line(start, 1), _line(end, len(lines))
            text = "".join(lines[first - 1 : last])
        return {
            "path": path,
            "content": text[:LIMIT_CHARACTERS],
            "lines": len(lines),
            "truncated": len(text) > LIMIT_CHARACTERS,
        }


def _line(value: object, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ToolError("ArgumentInvalid", "start and end are line numbers counted from 1.")
    return value
