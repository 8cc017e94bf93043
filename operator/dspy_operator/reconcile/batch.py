"""EnvTask with many runs: one pod per attempt at a run, `<task>-<index>-<attempt>`, as many at once as the spec allows.

The order of things is what makes a restart harmless. An end goes into the status before its pod is deleted, so that it
is neither forgotten nor counted twice. A start goes into the status after its pod is there, so that a run which the
status calls started and that has no pod lost it, and may have run. (That leaves one gap: a pod that somebody deletes
within the second until its start is recorded, while the operator dies, is made again and its command not counted.)
Pods are looked through at most a few times a second, and the status is written at most once, however many runs there
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dspy_operator import names
from dspy_operator.desired.envtask_pod import envtask_pod
from dspy_operator.errors import StalledError
from dspy_operator.reconcile import references
from dspy_operator.reconcile.context import Context, Pace, earliest, write_status
from dspy_operator.reconcile.start import create_pod
from dspy_operator.status import ledger as ledgers
from dspy_operator.status import pods
from dspy_operator.status.batch import Attempt, Standing, due, settle
from dspy_operator.status.batch_view import View, ended, stalled, suspended, underway
from dspy_operator.status.conditions import merge, timestamp
from dspy_operator.status.ledger import Ledger
from dspy_operator.store import PODS, Loss, Object

_LOOK_EVERY_S = 0.2
_WRITE_EVERY_S = 1.0
# Pods made or deleted in one pass: others wait for a worker meanwhile.
_PER_PASS = 32


@dataclass
class _Pass:
    """What one pass works on. `ledger` is the status's, with what this pass has found out."""

    ctx: Context
    task: Object
    pace: Pace
    ledger: Ledger
    standing: Standing

    @property
    def uid(self) -> str:
        return str(self.task["metadata"]["uid"])


async def advance(ctx: Context, task: Object) -> float | None:
    """One pass over a task that has not ended. Returns after how many seconds time alone would change something."""
    uid = task["metadata"]["uid"]
    pace = ctx.paces.setdefault(uid, Pace())
    wait_s = _left_s(pace.looked_at, _LOOK_EVERY_S, ctx.now())
    if wait_s > 0:
        return wait_s
    pace.looked_at = ctx.now()
    await _list_pods(ctx, task, pace)
    ledger = ledgers.read(task)
    standing = settle(task, ledger, ctx.store.pods_of(uid), ctx.store.run_losses[uid], ctx.now())
    work = _Pass(ctx, task, pace, ledger, standing)
    await _give_up_overdue(work)
    view = await _act(work)
    write_again_s = await _write(work, view)
    recorded = ledger if write_again_s is None else ledgers.read(task)
    delete_again_s = await _delete_recorded(work, recorded)
    return earliest(standing.look_again_s, view.look_again_s, write_again_s, delete_again_s)


async def sweep(ctx: Context, task: Object) -> float | None:
    """Deletes pods of a task that has ended, some in each pass. Returns when to go on, where there are more."""
    uid = task["metadata"]["uid"]
    left = [pod for pod in ctx.store.pods_of(uid) if not pods.is_deleting(pod)]
    for pod in left[:_PER_PASS]:
        await ctx.cluster.delete_pod(pod)
    ctx.store.run_losses.pop(uid, None)
    ctx.paces.pop(uid, None)
    return _LOOK_EVERY_S if len(left) > _PER_PASS else None


async def _list_pods(ctx: Context, task: Object, pace: Pace) -> None:
    """Once after a start: the watch may show a task before its pods, which must not be taken for lost."""
    if pace.pods_listed:
        return
    async for pod in ctx.cluster.pods_of(names.ENV_TASKS, task):
        ctx.store.put(PODS, pod)
    pace.pods_listed = True


async def _act(work: _Pass) -> View:
    """Starts what is due, gives back what is suspended, and tells what the task comes to."""
    task, ledger, standing, now = work.task, work.ledger, work.standing, work.ctx.now()
    if standing.fatal is not None or ledger.concluded or _too_many_failed(task, ledger):
        return ended(task, ledger, standing, now)
    if task["spec"].get("suspend"):
        for index, _ in standing.active:
            ledger.give_back(index)
        return suspended(standing)
    starts = due(task, ledger, standing, work.ctx.settings.retry_seconds, now)
    try:
        await _start(work, starts[:_PER_PASS])
    except StalledError as error:
        return stalled(error, standing)
    return underway(task, ledger, standing, _LOOK_EVERY_S if len(starts) > _PER_PASS else None)


async def _start(work: _Pass, starts: list[Attempt]) -> None:
    """Makes the pods one after the other: of runs that are new, those with a pod are always the first in order."""
    ctx, task = work.ctx, work.task
    if starts and not work.pace.references_checked:
        await references.check(ctx, task["metadata"]["namespace"], task["spec"])
        work.pace.references_checked = True
    token = ctx.settings.reddb_token()
    for index, attempt in starts:
        await create_pod(ctx, task, envtask_pod(task, ctx.settings, token, attempt, index))
        work.ledger.start(index, attempt)
        work.standing.active.append((index, attempt))


async def _give_up_overdue(work: _Pass) -> None:
    """Deletes pods that did not start in time or overran. What became of their runs is known once they are gone."""
    losses = work.ctx.store.run_losses[work.uid]
    for pod, outcome in work.standing.overdue[:_PER_PASS]:
        attempt = pods.attempt_of(pod)
        losses[pods.index_of(pod), attempt] = Loss(attempt, outcome.message, work.ctx.now().timestamp())
        await work.ctx.cluster.delete_pod(pod)


async def _delete_recorded(work: _Pass, recorded: Ledger) -> float | None:
    """Deletes pods whose end the status tells. Returns when to go on, where there are more."""
    store = work.ctx.store
    for attempt in [each for each in store.run_losses[work.uid] if recorded.knows_end_of(*each)]:
        del store.run_losses[work.uid][attempt]
    there = [pod for pod in store.pods_of(work.uid) if not pods.is_deleting(pod)]
    over = [pod for pod in there if recorded.knows_end_of(pods.index_of(pod), pods.attempt_of(pod))]
    for pod in over[:_PER_PASS]:
        await work.ctx.cluster.delete_pod(pod)
    return _LOOK_EVERY_S if len(over) > _PER_PASS else None


async def _write(work: _Pass, view: View) -> float | None:
    """Writes the status, or tells in how many seconds it may be written; None where nothing is left to write."""
    ctx, task, ledger = work.ctx, work.task, work.ledger
    stored, generation = task["status"], task["metadata"]["generation"]
    status = {
        "phase": view.phase,
        "observedGeneration": generation,
        "conditions": merge(stored.get("conditions") or (), view.conditions, generation, ctx.now()),
        **ledgers.fields(ledger, len(work.standing.active) + len(work.standing.overdue)),
        **view.fields,
    }
    if ledger.started > 0:
        status["startTime"] = stored.get("startTime") or timestamp(ctx.now())
    if status == stored:
        return None
    wait_s = _left_s(work.pace.written_at, _WRITE_EVERY_S, ctx.now())
    if wait_s > 0:
        return wait_s
    again_s = await write_status(ctx, names.ENV_TASKS, task, status)
    if again_s is None:
        work.pace.written_at = ctx.now()
    return again_s


def _too_many_failed(task: Object, ledger: Ledger) -> bool:
    most = task["spec"].get("maxFailedIndexes")
    return most is not None and len(ledger.failed) > most


def _left_s(since: datetime | None, period_s: float, now: datetime) -> float:
    return 0.0 if since is None else period_s - (now - since).total_seconds()
