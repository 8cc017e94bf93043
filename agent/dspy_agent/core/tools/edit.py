"""edit: replace a piece of a file that occurs exactly once, or write a whole file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dspy_agent.core.tools.arguments import text_argument
from dspy_agent.core.tools.base import Tool, ToolContext, editable_path, read_text
from dspy_agent.errors import ToolError

LIMIT_BYTES = 2 * 1024 * 1024


class Edit(Tool):
    """`{"path", "old", "new"}` or `{"path", "content"}` → `{"path", "bytes"}`.

    The only tool that changes the workspace.
    """

    name = "edit"
    description = (
        "Change a file: give old (text that occurs exactly once) and new, or content to write the whole file. "
        "Protected paths are refused."
    )
    parameters: ClassVar[Mapping[str, Any]] = {
        "path": {"type": "string", "description": "path relative to the workspace"},
        "old": {"type": "string", "description": "text to replace; it must occur exactly once"},
        "new": {"type": "string", "description": "text to put in its place"},
        "content": {"type": "string", "description": "the whole new content, instead of old and new"},
    }
    required = ("path",)
    mutates = True

    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        path = editable_path(context, arguments.get("path"))
        content = _new_content(context, path, arguments).encode()
        if len(content) > LIMIT_BYTES:
            raise ToolError(
                "FileTooLarge", f"{path} would have {len(content)} bytes; the limit is {LIMIT_BYTES}."
            )
        context.workspace.write(path, content)
        return {"path": path, "bytes": len(content)}

    def replay(self, context: ToolContext, arguments: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        del value
        self.run(context, arguments)


def _new_content(context: ToolContext, path: str, arguments: Mapping[str, Any]) -> str:
    if arguments.get("content") is not None:
        return text_argument(arguments, "content")
    old, new = text_argument(arguments, "old"), text_argument(arguments, "new")
    if not old:
        raise ToolError(
            "EditEmpty", "old is empty; give the text to replace, or content to write the whole file."
        )
    text = read_text(context.workspace, path)
    count = text.count(old)
    if count == 0:
        raise ToolError("EditNotFound", f"The text to replace does not occur in {path}; read the file again.")
    if count > 1:
        raise ToolError(
            "EditAmbiguous", f"The text to replace occurs {count} times in {path}; give more lines of it."
        )
    return text.replace(old, new)
