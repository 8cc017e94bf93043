"""EnvTask in Pod mode: one pod per attempt, `<task>-<attempt>`, until the command succeeds or may not be tried again.

Attempts are counted in the status before the next one starts, so that a restart of the operator neither forgets nor
repeats one: an attempt that ended is in `attempts` with `active` 0, and the command's share of them is `failed`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from dspy_operator import names
from dspy_operator.desired.envtask_pod import envtask_pod
from dspy_operator.errors import StalledError
from dspy_operator.names import Key
from dspy_operator.reconcile import references
from dspy_operator.reconcile.context import Context, earliest, expire, write_status
from dspy_operator.reconcile.start import create_pod, find_pod
from dspy_operator.status import pods
from dspy_operator.status.conditions import Condition, is_true, merge, timestamp
from dspy_operator.status.envtask import Kind, Outcome, Progress, conditions, judge, result_fields
from dspy_operator.store import Object

MAX_INFRA_RETRIES = 3
_RETRY_CAP_S = 360.0


async def reconcile(ctx: Context, key: Key) -> float | None:
    """One pass. Returns after how many seconds time alone would change something."""
    task = ctx.store.get(key)
    if task is None or task["metadata"].get("deletionTimestamp"):
        return None
    if is_true(task, "Complete") or is_true(task, "Failed"):
        return await _expire(ctx, task)
    try:
        return await _advance(ctx, task)
    except StalledError as error:
        again_s = await _write(ctx, task, "Stalled", conditions("Stalled", error.reason, error.message), {})
        return earliest(error.retry_s, again_s)


async def _advance(ctx: Context, task: Object) -> float | None:
    refuse_unsupported(task)
    by_attempt: dict[int, Object] = {
        pods.attempt_of(pod): pod for pod in ctx.store.pods_of(task["metadata"]["uid"])
    }
    attempt: int = max((int(task["status"].get("attempts", 0)), *by_attempt))
    if attempt == 0:
        return await _start(ctx, task, 1)
    pod = by_attempt.get(attempt) or await find_pod(ctx, task, attempt)
    state = _lost(ctx, task) if pod is None else judge(task, pod, ctx.now())
    if isinstance(state, Progress):
        return await _report_progress(ctx, task, attempt, state)
    if pod is not None:
        await _stop(ctx, state, pod)
    return await _conclude(ctx, task, attempt, state)


async def _start(ctx: Context, task: Object, attempt: int) -> float | None:
    await references.check(ctx, task["metadata"]["namespace"], task["spec"])
    manifest = envtask_pod(task, ctx.settings, ctx.settings.reddb_token(), attempt)
    pod = await create_pod(ctx, task, manifest)
    state = judge(task, pod, ctx.now())
    if isinstance(state, Progress):
        return await _report_progress(ctx, task, attempt, state)
    return await _conclude(ctx, task, attempt, state)


async def _report_progress(ctx: Context, task: Object, attempt: int, state: Progress) -> float | None:
    counts = {"attempts": attempt, "active": 1, "pending": 0, "failed": task["status"].get("failed", 0)}
    fields = {**counts, "podName": names.task_pod(task["metadata"]["name"], attempt)}
    again_s = await _write(
        ctx, task, state.phase, conditions("Reconciling", state.reason, state.message), fields
    )
    return earliest(state.look_again_s, again_s)


async def _conclude(ctx: Context, task: Object, attempt: int, outcome: Outcome) -> float | None:
    failed = _command_failures(task, attempt, outcome)
    infra = attempt - failed - (1 if outcome.kind is Kind.SUCCEEDED else 0)
    fields: Object = {"attempts": attempt, "active": 0, "pending": 0, "failed": failed}
    fields["podName"] = names.task_pod(task["metadata"]["name"], attempt)
    if outcome.kind is Kind.SUCCEEDED:
        return await _end(ctx, task, "Complete", outcome, {**fields, "succeeded": 1})
    if outcome.kind is Kind.FATAL or failed > task["spec"].get("backoffLimit", 0):
        return await _end(ctx, task, "Failed", outcome, fields)
    if outcome.kind is Kind.INFRA and infra > MAX_INFRA_RETRIES:
        tried = f"{outcome.message} (the infrastructure failed {infra} times)"
        return await _end(ctx, task, "Failed", replace(outcome, message=tried), fields)
    wait_s = _retry_in_s(ctx, outcome, failed if outcome.kind is Kind.COMMAND else infra)
    if wait_s <= 0 and _is_counted(task, attempt):
        return await _start(ctx, task, attempt + 1)
    if not _is_counted(task, attempt):
        said = f"Attempt {attempt} failed: {outcome.reason}: {outcome.message}"
        await _write(
            ctx, task, "Pending", conditions("Reconciling", "Retrying", said), {**fields, "pending": 1}
        )
    return max(wait_s, 0.0)


async def _end(ctx: Context, task: Object, kind: str, outcome: Outcome, fields: Object) -> float | None:
    shown = conditions(kind, outcome.reason, outcome.message)
    phase = "Succeeded" if kind == "Complete" else "Failed"
    await _write(ctx, task, phase, shown, {**fields, **result_fields(task, outcome, ctx.now())})
    metadata = task["metadata"]
    stored = ctx.store.get(Key(names.ENV_TASKS, metadata["namespace"], metadata["name"]))
    return await _expire(ctx, stored) if stored is not None else None


async def _stop(ctx: Context, outcome: Outcome, pod: Object) -> None:
    # The attempt is judged though its pod lives on: it never started, overran, or its node is gone.
    over = pods.phase(pod) in ("Failed", "Succeeded") or pods.ended(pod, names.CONTAINER_TASK) is not None
    if outcome.kind is Kind.INFRA and not over and not pods.is_deleting(pod):
        await ctx.cluster.delete_pod(pod)


def _lost(ctx: Context, task: Object) -> Outcome:
    loss = ctx.store.losses.get(task["metadata"]["uid"])
    at = None if loss is None else datetime.fromtimestamp(loss.at_s, UTC)
    return Outcome(Kind.INFRA, "InfraError", "The attempt's pod was deleted.", None, at)


async def _expire(ctx: Context, task: Object) -> float | None:
    ttl_s = task["spec"].get("ttlSecondsAfterFinished")
    return await expire(ctx, names.ENV_TASKS, task, task["status"]["completionTime"], ttl_s)


async def _write(
    ctx: Context, task: Object, phase: str, wanted: tuple[Condition, ...], fields: Object
) -> float | None:
    stored, generation = task["status"], task["metadata"]["generation"]
    kept = {
        name: stored[name]
        for name in ("attempts", "active", "pending", "failed", "podName")
        if name in stored
    }
    status = {
        "phase": phase,
        "observedGeneration": generation,
        "conditions": merge(stored.get("conditions") or (), wanted, generation, ctx.now()),
        **kept,
        **fields,
    }
    if "podName" in status:
        status["startTime"] = stored.get("startTime") or timestamp(ctx.now())
    return await write_status(ctx, names.ENV_TASKS, task, status)


def _is_counted(task: Object, attempt: int) -> bool:
    """Whether the status already has that attempt's end."""
    status: Object = task["status"]
    return bool(status.get("attempts") == attempt and status.get("active") == 0)


def _command_failures(task: Object, attempt: int, outcome: Outcome) -> int:
    before: int = task["status"].get("failed", 0)
    return before if _is_counted(task, attempt) or outcome.kind is not Kind.COMMAND else before + 1


def _retry_in_s(ctx: Context, outcome: Outcome, failures: int) -> float:
    if outcome.at is None:
        return 0.0  # nobody knows when it ended, so it was before the operator's latest start
    delay_s = min(_RETRY_CAP_S, ctx.settings.retry_seconds * 2.0 ** max(0, failures - 1))
    return delay_s - (ctx.now() - outcome.at).total_seconds()


def refuse_unsupported(task: Object) -> None:
    """Raises StalledError for the first field that asks for what this release cannot do: never ignored in silence."""
    spec = task["spec"]
    egress = spec.get("network", {}).get("egress", {})
    unsupported = {
        "spec.execution: Pool": spec.get("execution") == "Pool",
        "spec.poolRef": "poolRef" in spec,
        "spec.sessionRef": "sessionRef" in spec,
        "spec.completions above 1": spec.get("completions", 1) > 1,
        "spec.parallelism other than 1": spec.get("parallelism", 1) != 1,
        "spec.suspend": spec.get("suspend", False),
        "spec.inputs[].blob": any("blob" in entry for entry in spec.get("inputs", [])),
        "spec.network.egress.hosts": bool(egress.get("hosts")),
        "spec.network.egress.cidrs": bool(egress.get("cidrs")),
    }
    for field, asked in unsupported.items():
        if asked:
            raise StalledError("NotImplemented", f"{field} is not implemented in this release: remove it.")
