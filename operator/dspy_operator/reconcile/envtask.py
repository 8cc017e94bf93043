"""EnvTask in Pod mode: one pod per attempt, `<task>-<attempt>`, until the command succeeds or may not be tried again.

Attempts are counted in the status before the next one starts, so that a restart of the operator neither forgets nor
repeats one: an attempt that ended is in `attempts` with `active` 0; those in which the command may have run are in
`failed`, and only they count against spec.backoffLimit.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from dspy_operator import backoff, names
from dspy_operator.desired.envtask_pod import envtask_pod
from dspy_operator.errors import StalledError
from dspy_operator.names import Key
from dspy_operator.reconcile import batch, references, unsupported
from dspy_operator.reconcile.context import Context, earliest, expire, write_status
from dspy_operator.reconcile.start import create_pod, find_pod
from dspy_operator.status import pods
from dspy_operator.status.conditions import Condition, is_true, merge, timestamp
from dspy_operator.status.envtask import judge
from dspy_operator.status.envtask_fields import conditions, result_fields
from dspy_operator.status.outcome import Kind, Outcome, Progress, ours
from dspy_operator.store import Loss, Object


async def reconcile(ctx: Context, key: Key) -> float | None:
    """One pass. Returns after how many seconds time alone would change something."""
    task = ctx.store.get(key)
    if task is None or task["metadata"].get("deletionTimestamp"):
        return None
    many = task["spec"].get("completions", 1) > 1
    if is_true(task, "Complete") or is_true(task, "Failed"):
        left_s = await batch.sweep(ctx, task) if many else None
        return earliest(left_s, await _expire(ctx, task))
    try:
        unsupported.check_task(task)
        return await (batch.advance(ctx, task) if many else _advance(ctx, task))
    except StalledError as error:
        again_s = await _write(ctx, task, "Stalled", conditions("Stalled", error.reason, error.message), {})
        return earliest(error.retry_s, again_s)


async def _advance(ctx: Context, task: Object) -> float | None:
    by_attempt: dict[int, Object] = {
        pods.attempt_of(pod): pod for pod in ctx.store.pods_of(task["metadata"]["uid"])
    }
    attempt: int = max((int(task["status"].get("attempts", 0)), *by_attempt))
    if attempt == 0:
        return await (_suspend(ctx, task, 0, None) if _on_hold(task) else _start(ctx, task, 1))
    pod = by_attempt.get(attempt)
    if pod is None:
        pod = await find_pod(ctx, task, names.task_pod(task["metadata"]["name"], attempt), attempt)
    if pod is not None and pods.is_deleting(pod) and _is_counted(task, attempt):
        return None  # given back: the next attempt waits until it is gone
    state = _lost(ctx, task, attempt) if pod is None else judge(task, pod, ctx.now())
    if isinstance(state, Outcome) and pod is not None:
        state = await _stop(ctx, task, state, pod)
    if task["spec"].get("suspend") and (isinstance(state, Progress) or _is_counted(task, attempt)):
        return await _suspend(ctx, task, attempt, pod)
    if isinstance(state, Progress):
        return await _report_progress(ctx, task, attempt, state)
    return await _conclude(ctx, task, attempt, state)


def _on_hold(task: Object) -> bool:
    """Whether nothing new may be started."""
    return bool(task["spec"].get("suspend")) or task["spec"].get("parallelism") == 0


async def _suspend(ctx: Context, task: Object, attempt: int, pod: Object | None) -> float | None:
    """Gives back what runs, at the user's wish: counted as ended, and as nobody's failure, before its pod goes."""
    fields: Object = {
        "attempts": attempt,
        "active": 0,
        "failed": task["status"].get("failed", 0),
        "pending": 1,
    }
    if task["spec"].get("suspend"):
        message = "spec.suspend is true: the command starts, or starts again, when it is false."
        shown, phase = conditions("Suspended", "Suspended", message), "Suspended"
    else:
        message = "spec.parallelism is 0, so nothing is started: raise it."
        shown, phase = conditions("Reconciling", "ParallelismIsZero", message), "Pending"
    again_s = await _write(ctx, task, phase, shown, fields)
    if pod is not None and not pods.is_deleting(pod):
        given_back = Loss(attempt, "it was given back", ctx.now().timestamp(), may_have_run=True)
        ctx.store.losses[task["metadata"]["uid"]] = given_back
        await ctx.cluster.delete_pod(pod)
    return again_s


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
    failed = _failures(task, attempt, outcome)
    unstarted = attempt - failed - (1 if outcome.kind is Kind.SUCCEEDED else 0)
    fields: Object = {"attempts": attempt, "active": 0, "pending": 0, "failed": failed}
    fields["podName"] = names.task_pod(task["metadata"]["name"], attempt)
    if outcome.kind is Kind.SUCCEEDED:
        return await _end(ctx, task, "Complete", outcome, {**fields, "succeeded": 1})
    if outcome.kind is Kind.FATAL or failed > task["spec"].get("backoffLimit", 0):
        return await _end(ctx, task, "Failed", outcome, fields)
    if outcome.kind is Kind.NOT_STARTED and unstarted > backoff.MAX_START_RETRIES:
        tried = f"{outcome.message} (the command could not be started {unstarted} times)"
        return await _end(ctx, task, "Failed", replace(outcome, message=tried), fields)
    wait_s = _retry_in_s(ctx, outcome, unstarted if outcome.kind is Kind.NOT_STARTED else failed)
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


async def _stop(ctx: Context, task: Object, outcome: Outcome, pod: Object) -> Outcome | Progress:
    """Gives up a pod that lives on though its attempt is judged: it did not start in time, or overran.

    The judgement stands only when the pod is gone: until then its command may still begin, or go on.
    """
    if outcome.kind not in (Kind.NOT_STARTED, Kind.INTERRUPTED):
        return outcome
    over = pods.is_over(pod) or pods.ended(pod, names.CONTAINER_TASK) is not None
    if over or pods.is_deleting(pod):
        return _in_first_words(ctx, task, outcome, pod)
    await ctx.cluster.delete_pod(pod)
    may_have_run = outcome.kind is Kind.INTERRUPTED
    given_up = Loss(pods.attempt_of(pod), outcome.message, ctx.now().timestamp(), may_have_run)
    ctx.store.losses[task["metadata"]["uid"]] = given_up
    return Progress("Running" if may_have_run else "Pending", "PodTerminating", outcome.message, None)


def _in_first_words(ctx: Context, task: Object, outcome: Outcome, pod: Object) -> Outcome:
    """The outcome, told as it was when we gave the pod up: what the kubelet says of a deleted pod helps nobody."""
    known = ctx.store.losses.get(task["metadata"]["uid"])
    if known is None or known.attempt != pods.attempt_of(pod):
        return outcome
    return replace(outcome, message=known.reason)


def _lost(ctx: Context, task: Object, attempt: int) -> Outcome:
    loss = ctx.store.losses.get(task["metadata"]["uid"])
    if loss is None or loss.attempt != attempt:
        message = "The attempt's pod was deleted while no operator looked: its command may have run."
        return ours(message, may_have_run=True)
    message = f"The attempt's pod is gone: {loss.reason}"
    return ours(message, may_have_run=loss.may_have_run, at=datetime.fromtimestamp(loss.at_s, UTC))


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


def _failures(task: Object, attempt: int, outcome: Outcome) -> int:
    """Attempts up to this one in which the command may have run, and did not succeed."""
    before: int = task["status"].get("failed", 0)
    ran = outcome.kind in (Kind.COMMAND, Kind.INTERRUPTED)
    return before + 1 if ran and not _is_counted(task, attempt) else before


def _retry_in_s(ctx: Context, outcome: Outcome, failures: int) -> float:
    if outcome.at is None:
        return 0.0  # nobody knows when it ended, so it was before the operator's latest start
    delay_s = backoff.delay_s(ctx.settings.retry_seconds, failures)
    return delay_s - (ctx.now() - outcome.at).total_seconds()
