"""JSON logs on stdout: ts, level, msg, component, trace_id."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime


class Logger:
    """Writes one JSON object per line; the trace id is the session's for its whole life."""

    def __init__(self, component: str, trace_id: str) -> None:
        self._fixed = {"component": component, "trace_id": trace_id}

    def info(self, message: str, **fields: object) -> None:
        self._write("info", message, fields)

    def error(self, message: str, **fields: object) -> None:
        self._write("error", message, fields)

    def _write(self, level: str, message: str, fields: dict[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"ts": now, "level": level, "msg": message, **self._fixed, **fields}
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()
