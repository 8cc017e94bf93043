"""What the tools' command lines share: an error the user can act on is a line, not a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tools.common.process import ToolError


def exit_status(work: Callable[[], object]) -> int:
    """Do `work`; return 0, or 1 after telling the ToolError that it raised."""
    try:
        work()
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
