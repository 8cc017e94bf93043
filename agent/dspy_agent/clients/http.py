"""httpx without its command line, and the trace that requests belong to."""

from __future__ import annotations

import os
import re
import sys

# httpx/__init__.py imports its command line where click and rich are installed, which is most of its start-up time; an
# import that fails is what it expects where they are not.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

import httpx  # noqa: E402 - after the line above

__all__ = ["httpx", "trace_headers"]

TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


def trace_headers() -> dict[str, str]:
    """The W3C `traceparent` of this process (environment TRACEPARENT), if it has one that is well-formed."""
    value = os.environ.get("TRACEPARENT", "")
    return {"traceparent": value} if TRACEPARENT.match(value) else {}
