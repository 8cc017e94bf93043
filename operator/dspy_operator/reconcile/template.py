"""What a pool's pods are to be made from now, kept: to render one for every claim would cost more than the claim."""

from __future__ import annotations

from dspy_operator.desired.warm_pod import template_hash
from dspy_operator.reconcile.context import Context
from dspy_operator.store import Object


def current_hash(ctx: Context, pool: Object) -> str:
    """The hash of the pods that the pool is to have."""
    token, metadata = ctx.settings.reddb_token(), pool["metadata"]
    made_from = metadata["generation"], token
    known = ctx.template_hashes.get(metadata["uid"])
    if known is None or known[0] != made_from:
        known = made_from, template_hash(pool, ctx.settings, token)
        ctx.template_hashes[metadata["uid"]] = known
    return known[1]
