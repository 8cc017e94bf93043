"""The safety net under the watches: an object that was deleted while a watch was broken is forgotten here.

kopf lists again after a broken watch but does not tell what is no longer in the list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from dspy_operator import errors, names
from dspy_operator.handlers import Enqueue, on_object, on_pod
from dspy_operator.reconcile.context import Context
from dspy_operator.store import PODS, Object

logger = logging.getLogger(__name__)

PERIOD_S = 600.0


class Lister(Protocol):
    """The part of cluster.py that a resync uses."""

    def metadata(self, plural: str, namespace: str | None, selector: str = "") -> AsyncIterator[Object]: ...


async def keep(
    ctx: Context, lister: Lister, namespaces: Sequence[str], enqueue: Enqueue, period_s: float = PERIOD_S
) -> None:
    """Compares every `period_s`, for ever. Reads metadata only, page by page; writes nothing."""
    while True:
        await asyncio.sleep(period_s)
        for plural in (*names.KINDS, PODS):
            try:
                await once(ctx, lister, plural, namespaces, enqueue)
            except errors.ClusterError as error:
                # A list that broke off proves nothing of what it lacks, and the next one comes soon enough.
                logger.warning("resync left out", extra={"resource": plural, "error": str(error)})


async def once(
    ctx: Context, lister: Lister, plural: str, namespaces: Sequence[str], enqueue: Enqueue
) -> None:
    """Treats what is in the store but not in the cluster as deleted. What appeared since the start is left alone."""
    before = {key: seen for key in ctx.store.keys(plural) if (seen := ctx.store.get(key)) is not None}
    selector = names.MANAGED_PODS if plural == PODS else ""
    living = set()
    for namespace in namespaces or (None,):
        async for item in lister.metadata(plural, namespace, selector):
            living.add(item["metadata"]["uid"])
    for seen in before.values():
        if seen["metadata"]["uid"] in living:
            continue
        event: Any = {"type": "DELETED", "object": seen}
        if plural == PODS:
            await on_pod(ctx, enqueue, event)
        else:
            await on_object(ctx, enqueue, plural, event)
