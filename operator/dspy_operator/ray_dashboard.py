"""The log of a job, from Ray's dashboard: the only I/O to it.

`/api/jobs/{id}/logs` answers with the whole log, however long: the state API's log files know a tail.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from dspy_operator import errors
from dspy_operator.outside import Outside, read_all, read_end

_LINES = 2000
_KEEP = 1 << 20
_LIMIT = 16 << 20
_PATIENCE_S = 5.0
_JOB_MAX = 1 << 20


class RayDashboard:
    """Implements reconcile.context.RayLogs."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def tail(self, address: str, job_id: str) -> str:
        """The last lines that the job printed. ServiceError where there is no answer, or no such job."""
        base = address if address.startswith("http") else f"http://{address}"
        async with self._outside.request("GET", f"{base}/api/jobs/{quote(job_id)}") as content:
            node = _node(await read_all(content, _JOB_MAX))
        query = {"node_id": node, "submission_id": job_id, "lines": str(_LINES)}
        async with self._outside.request("GET", f"{base}/api/v0/logs/file", query=query) as content:
            return (await read_end(content, _KEEP, _LIMIT, _PATIENCE_S)).decode(errors="replace")


def _node(answer: bytes) -> str:
    try:
        node = json.loads(answer)["driver_node_id"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise errors.ServiceUnavailableError("the answer is not Ray's") from error
    if not isinstance(node, str) or not node:
        raise errors.ServiceUnavailableError("the job has not begun")
    return node
