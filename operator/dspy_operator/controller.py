"""From a key to its kind's reconcile, measured; and what a failed pass leaves in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from dspy_operator import errors, names
from dspy_operator.metrics import Metrics
from dspy_operator.names import Key
from dspy_operator.reconcile import agentpool, agentsession, envtask, trainingjob
from dspy_operator.reconcile.context import Context

logger = logging.getLogger(__name__)

_RECONCILES: dict[str, Callable[[Context, Key], Awaitable[float | None]]] = {
    names.AGENT_SESSIONS: agentsession.reconcile,
    names.ENV_TASKS: envtask.reconcile,
    names.TRAINING_JOBS: trainingjob.reconcile,
    names.AGENT_POOLS: agentpool.reconcile,
}


class Controller:
    """What the queue's workers call."""

    def __init__(self, ctx: Context, metrics: Metrics) -> None:
        self._ctx = ctx
        self._metrics = metrics

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one object."""
        started = time.monotonic()
        result = "error"
        try:
            after_s = await _RECONCILES[key.plural](self._ctx, key)
            result = "ok"
        except errors.NotFoundError:
            # Deleted under our hands: its DELETED event is on the way and clears the store.
            result, after_s = "gone", None
        finally:
            seconds = time.monotonic() - started
            self._metrics.reconcile_seconds.labels(names.KINDS[key.plural], result).observe(seconds)
        return after_s

    def failed(self, key: Key, error: Exception) -> None:
        """Records a failed pass once: what the cluster said in a line, what is our bug with its traceback."""
        if isinstance(error, errors.ClusterError):
            logger.warning("reconcile will be retried", extra={"key": str(key), "error": str(error)})
        else:
            logger.error("reconcile failed", extra={"key": str(key)}, exc_info=error)
