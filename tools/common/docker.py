"""Whether this machine has a Docker engine: what images are built by and clusters made of depends on it."""

from __future__ import annotations

import shutil

from tools.common.process import ToolError, run

ASK_SECONDS = 5.0


def engine_answers() -> bool:
    """Whether the docker command is there and reaches its engine, which it often does not."""
    if shutil.which("docker") is None:
        return False
    try:
        run(["docker", "version", "--format={{.Server.Version}}"], timeout_seconds=ASK_SECONDS)
    except ToolError:
        return False
    return True
