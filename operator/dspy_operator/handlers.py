"""kopf at the edge: an event of a watched object goes into the store and its key into the queue, and nothing else.

kopf writes nothing to the cluster here: `on.event` handlers need no finalizer and no annotation; events and peering
are off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from dspy_operator import names
from dspy_operator.names import Key
from dspy_operator.reconcile.context import Context
from dspy_operator.reconcile.start import note_loss
from dspy_operator.status.pods import is_ready
from dspy_operator.store import PODS, Object, claimed_from, has_ended, key_of, owner_key

Enqueue = Callable[[Key], Awaitable[None]]

_PAGE = 500
_WOKEN_AT_ONCE = 4  # the pool's own pass wakes as many as it has pods


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf copies every object deeply, several times an event, for handlers of changes, which we have none of."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """The same, for what such handlers have done."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def settings() -> kopf.OperatorSettings:
    """kopf's settings: paged lists, our pods only, no scanning of the cluster, no writes."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True
    made.peering.standalone = True
    made.watching.chunk_size = _PAGE
    made.watching.label_selectors["", "v1", PODS] = names.MANAGED_PODS
    made.networking.request_timeout = 60
    made.persistence.diffbase_storage = _NoDiffs()
    made.persistence.progress_storage = _NoProgress()
    made.queueing.idle_timeout = 1.0
    made.queueing.exit_timeout = 1.0
    return made


def registry(ctx: Context, enqueue: Enqueue) -> kopf.OperatorRegistry:
    """Handlers for the four kinds and for their pods."""
    made = kopf.OperatorRegistry()

    async def object_event(*, event: Any, param: Any = None, **_: Any) -> None:
        await on_object(ctx, enqueue, param, event)

    async def pod_event(*, event: Any, **_: Any) -> None:
        await on_pod(ctx, enqueue, event)

    for plural in names.KINDS:
        kopf.on.event(names.GROUP, names.VERSION, plural, id=plural, registry=made, param=plural)(
            object_event
        )
    kopf.on.event("", "v1", PODS, id=PODS, registry=made)(pod_event)
    for login in (kopf.login_with_service_account, kopf.login_with_kubeconfig):
        kopf.on.login(id=login.__name__, registry=made)(login)
    return made


async def on_object(ctx: Context, enqueue: Enqueue, plural: str, event: Any) -> None:
    """An object of ours was listed, added, changed or deleted."""
    seen: Object = event["object"]
    key = key_of(plural, seen)
    known = ctx.store.get(key)
    if event["type"] == "DELETED":
        ctx.store.remove(plural, seen)
        ctx.forget(seen["metadata"]["uid"])
    else:
        ctx.store.put(plural, seen)
    await enqueue(key)
    if plural == names.AGENT_POOLS and (event["type"] == "DELETED" or _is_news(known, seen)):
        for session in ctx.store.sessions_of(key):
            await enqueue(session)


async def on_pod(ctx: Context, enqueue: Enqueue, event: Any) -> None:
    """A pod of ours was listed, added, changed or deleted: its owner has to look."""
    pod: Object = event["object"]
    gone = event["type"] == "DELETED"
    if gone:
        note_loss(ctx, pod)
        ctx.store.remove(PODS, pod)
        ctx.claims.forget(pod["metadata"]["uid"])
    else:
        ctx.store.put(PODS, pod)
    key = owner_key(pod)
    if key is not None:
        await enqueue(key)
        if key.plural == names.AGENT_POOLS and not gone and is_ready(pod):
            for session in ctx.claims.waiting(key, _WOKEN_AT_ONCE):
                await enqueue(session)
    pool = claimed_from(pod)
    if pool is not None and (gone or has_ended(pod)):
        await enqueue(pool)  # it counts the pods that sessions hold


def _is_news(known: Object | None, seen: Object) -> bool:
    """Whether those who need the pool should look: it appeared, or its spec changed."""
    return known is None or known["metadata"]["generation"] != seen["metadata"]["generation"]
