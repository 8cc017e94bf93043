"""Kinds without a controller yet: they say so, and what to use instead, rather than hang in silence."""

from __future__ import annotations

from dspy_operator import names
from dspy_operator.names import Key
from dspy_operator.reconcile.context import Context, write_status
from dspy_operator.status.conditions import Condition, merge
from dspy_operator.store import Object

_INSTEAD = {
    names.AGENT_POOLS: (
        "Warm pools are not implemented in this release, so no pods are kept: sessions that name this pool start cold "
        "with its template."
    ),
}


async def reconcile(ctx: Context, key: Key) -> float | None:
    """One status write per generation, none after."""
    seen = ctx.store.get(key)
    if seen is None or seen["metadata"].get("deletionTimestamp"):
        return None
    generation = seen["metadata"]["generation"]
    message = _INSTEAD[key.plural]
    wanted = (
        Condition("Ready", "False", "NotImplemented", message),
        Condition("Reconciling", "False", "NotImplemented", ""),
        Condition("Stalled", "True", "NotImplemented", message),
    )
    stored = seen["status"].get("conditions") or ()
    status = {"observedGeneration": generation, "conditions": merge(stored, wanted, generation, ctx.now())}
    return await write_status(ctx, key.plural, seen, {**status, **_fields(key)})


def _fields(key: Key) -> Object:
    if key.plural != names.AGENT_POOLS:
        return {"phase": "Stalled"}
    # The scale subresource needs replicas and selector, even where there is nothing to count.
    selector = f"{names.GROUP}/pool={names.label_value(key.name)}"
    return {"phase": "Stalled", "replicas": 0, "ready": 0, "claimed": 0, "pending": 0, "selector": selector}
