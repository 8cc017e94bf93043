"""list_files: the files of the workspace that match a glob."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dspy_agent.core.tools.arguments import text_argument
from dspy_agent.core.tools.base import Tool, ToolContext

LIMIT_FILES = 2000


class ListFiles(Tool):
    """`{"glob"?}` → `{"files": [path, ...], "truncated"}`, sorted."""

    name = "list_files"
    description = "List the files of the workspace that match a glob such as src/**/*.py (default: all)."
    parameters: ClassVar[Mapping[str, Any]] = {
        "glob": {"type": "string", "description": "for example **/*.py"}
    }

    def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
        glob = text_argument(arguments, "glob", "**")
        files, truncated = context.workspace.runner.list_files(glob, LIMIT_FILES)
        return {"files": sorted(file.path for file in files), "truncated": truncated}
