"""JSON logs on stdout: `ts level msg component trace_id`, and what a record carries beside."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_EXTRAS = ("key", "trace_id", "error", "seconds")


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line; a traceback goes into `cause`."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            "component": "operator",
            "logger": record.name,
            "trace_id": "",
        }
        line.update({name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)})
        if record.exc_info:
            line["cause"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str) -> None:
    """Sends everything, kopf's included, through the formatter."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # kopf tells of every event of every object at INFO and below; its warnings are worth reading.
    logging.getLogger("kopf").setLevel("WARNING")
    logging.getLogger("aiohttp.access").setLevel("WARNING")
