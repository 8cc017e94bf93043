"""httpx without its command line, and the trace that requests belong to."""

from __future__ import annotations

import os
import re
import ssl
import sys
from functools import cache

# httpx/__init__.py imports its command line where click and rich are installed, which is most of its start-up time; an
# import that fails is what it expects where they are not.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

import httpx  # noqa: E402 - after the line above

__all__ = ["httpx", "tls", "trace_headers"]

TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


@cache
def tls() -> ssl.SSLContext:
    """For all clients of services: each would read the machine's certificates anew, which takes 15 ms."""
    return httpx.create_ssl_context(trust_env=False)


def trace_headers() -> dict[str, str]:
    """The W3C `traceparent` of this process (environment TRACEPARENT), if it has one that is well-formed."""
    value = os.environ.get("TRACEPARENT", "")
    return {"traceparent": value} if TRACEPARENT.match(value) else {}
