"""TrainingJob: one run after the other on its backend, each resuming where the last one's checkpoint lies.

The status counts an attempt when it begins, and `jobState` says how it stands; `failures` are those that the trainer
itself failed, and only they count against spec.backoffLimit. What the backend loses is begun again by us, never by it:
a run that Ray or Slurm began a second time does not know where to resume, and is ended.
"""

from __future__ import annotations

from typing import Protocol

from dspy_operator import backoff, errors, names
from dspy_operator.desired.rayjob import LINGER_S
from dspy_operator.errors import NotYetError, StalledError
from dspy_operator.names import Key
from dspy_operator.reconcile import training_rayjob, training_slurm
from dspy_operator.reconcile.context import Context, Pace, earliest, expire, write_status
from dspy_operator.reconcile.training_end import after_failure, ended, final, may_resume
from dspy_operator.status import training_log
from dspy_operator.status.conditions import Condition, is_true, merge, parse_time, timestamp
from dspy_operator.status.training import Run, conditions
from dspy_operator.store import Object

_STOP_POLL_S = 1.0
_STOP_S = 90.0
_STOP_LONG_POLL_S = 5.0
_UNREACHABLE_S = 10.0
_LATE = ("DeadlineExceeded", "The job was active longer than spec.activeDeadlineSeconds.")
# Fields that one pass leaves as another wrote them. Those of the newest run go when the next one begins.
_KEPT = ("attempts", "failures", "activeSeconds", "jobState")
_OF_THE_LOG = ("progress", "checkpoint")
_OF_THE_RUN = (
    "backendRef",
    "submission",
    "dashboardURL",
    "slurmJobId",
    "slurmState",
    "startTime",
    "completionTime",
    "logPosition",
)


class Backend(Protocol):
    """What a backend does for a TrainingJob. StalledError and ServiceError say what is in the way.

    `prepare`: whether an attempt has to be written down before it is begun, since it cannot be found by its name.
    """

    async def prepare(self, ctx: Context, job: Object, attempt: int, /) -> bool: ...
    async def start(
        self, ctx: Context, job: Object, attempt: int, checkpoint: Object | None, left_s: int | None, /
    ) -> Run: ...
    async def look(self, ctx: Context, job: Object, /) -> Run | None: ...
    async def stop(self, ctx: Context, job: Object, /) -> bool: ...
    async def log(self, ctx: Context, job: Object, /) -> tuple[str, str]: ...


_BACKENDS: dict[str, Backend] = {"RayJob": training_rayjob, "Slurm": training_slurm}


async def reconcile(ctx: Context, key: Key) -> float | None:
    """One pass. Returns after how many seconds to look again: no watch shows what happens on a backend."""
    job = ctx.store.get(key)
    if job is None:
        return None
    if job["metadata"].get("deletionTimestamp"):
        return await training_slurm.release(ctx, job)
    if is_true(job, "Complete") or is_true(job, "Failed"):
        return await _clean_up(ctx, job)
    return await _try(ctx, job)


async def _try(ctx: Context, job: Object) -> float | None:
    """One pass, whose obstacles the status tells."""
    try:
        return await _advance(ctx, job)
    except NotYetError as error:
        job = _stored(ctx, job)
        waits = conditions("Reconciling", error.reason, error.message, submitted=is_true(job, "Submitted"))
        return earliest(error.retry_s, await _write(ctx, job, "Pending", waits, {}))
    except StalledError as error:
        return earliest(error.retry_s, await _stalled(ctx, job, error.reason, error.message))
    except errors.ServiceError as error:
        where = "orchestrator" if job["spec"]["backend"] == "Slurm" else "Ray"
        message = f"The {where} cannot be reached: {error}. This goes on by itself once it answers."
        return earliest(_UNREACHABLE_S, await _stalled(ctx, job, "BackendUnreachable", message))


async def _advance(ctx: Context, job: Object) -> float | None:
    backend, status = _BACKENDS[job["spec"]["backend"]], job["status"]
    run = await backend.look(ctx, job)
    if run is not None and run.attempt > status.get("attempts", 0):
        return await _report(ctx, job, run, {})  # it was begun, and nobody came to write that down
    if not status.get("attempts"):
        return await _start(ctx, job) if not job["spec"].get("suspend") else await _rest(ctx, job)
    if status["jobState"] == "Submitting":
        return await _begin(ctx, job, backend, status["attempts"])
    if status.get("jobState") in ("Failed", "Suspended"):
        return await _next(ctx, job, backend, run)
    return await (_follow(ctx, job, backend, run) if run is not None else _conclude(ctx, job, _lost(job)))


async def _follow(ctx: Context, job: Object, backend: Backend, run: Run) -> float | None:
    """A run that the status tells of."""
    if run.is_over:
        job, again_s = await _hear_out(ctx, job, backend, run)
        return await _conclude(ctx, job, run) if again_s is None else again_s
    told = {} if run.state == "Queued" else await _listen(ctx, job, backend) or {}
    if job["spec"].get("suspend"):
        return await _suspend(ctx, job, run, told)
    left_s = _left_s(ctx, job, run)
    if left_s is not None and left_s <= 0:
        fields = {**told, **ended(ctx, job, run), "jobState": "Failed"}
        return await _end(ctx, job, "Failed", _LATE, fields)
    return earliest(await _report(ctx, job, run, told), left_s)


async def _start(ctx: Context, job: Object) -> float | None:
    """The next attempt, after the newest checkpoint; the first one, or one that may begin anew, without."""
    attempt = job["status"].get("attempts", 0) + 1
    backend = _BACKENDS[job["spec"]["backend"]]
    if _is_late(ctx, job):
        return await _end(ctx, job, "Failed", _LATE, {"jobState": "Failed"})
    if await backend.prepare(ctx, job, attempt):
        job = await _announce(ctx, _stored(ctx, job), attempt)
    return await _begin(ctx, job, backend, attempt)


async def _announce(ctx: Context, job: Object, attempt: int) -> Object:
    """Writes down that the attempt is being begun, with what may be edited meanwhile: asked again, it is the same."""
    left_s, spec = _left_s(ctx, job, None), job["spec"]
    submission: Object = {} if left_s is None else {"leftSeconds": int(left_s)}
    if "budget" in spec:
        submission["budget"] = spec["budget"]
    fields = {"attempts": attempt, "jobState": "Submitting", "submission": submission}
    shown = conditions("Reconciling", "Submitting", "The job is being submitted.", submitted=False)
    await _write(ctx, job, "Pending", shown, fields, fresh=True)
    return _stored(ctx, job)


async def _begin(ctx: Context, job: Object, backend: Backend, attempt: int) -> float | None:
    checkpoint = job["status"].get("checkpoint") if may_resume(job) else None
    left_s = _left_s(ctx, job, None)
    run = await backend.start(ctx, job, attempt, checkpoint, None if left_s is None else int(left_s))
    return await _report(ctx, _stored(ctx, job), run, {})


async def _next(ctx: Context, job: Object, backend: Backend, run: Run | None) -> float | None:
    """After an attempt that ended or was suspended: waits until nothing of it is left, then begins the next one."""
    job, _ = await _remember(ctx, job, backend, run)
    if not await backend.stop(ctx, job):
        return _until_it_ends(ctx, job)
    ctx.paces.setdefault(job["metadata"]["uid"], Pace()).stopping_since = None
    job, again_s = await _remember(ctx, job, backend, await backend.look(ctx, job))
    if again_s is not None:
        return again_s
    if job["spec"].get("suspend"):
        return await _rest(ctx, job)
    refused = after_failure(job)
    if refused is not None:
        return await _end(ctx, job, "Failed", refused, {})
    wait_s = _retry_in_s(ctx, job)
    return wait_s if wait_s > 0 else await _start(ctx, job)


def _until_it_ends(ctx: Context, job: Object) -> float:
    """When to look again for the end of a run. Raises StalledError where that has taken long."""
    pace = ctx.paces.setdefault(job["metadata"]["uid"], Pace())
    pace.stopping_since = pace.stopping_since or ctx.now()
    if (ctx.now() - pace.stopping_since).total_seconds() < _STOP_S:
        return _STOP_POLL_S
    whose = "the orchestrator reach Slurm" if job["spec"]["backend"] == "Slurm" else "KubeRay's operator run"
    message = (
        f"The former run was told to end and is still there: does {whose}? This goes on once it is gone."
    )
    raise StalledError("RunDoesNotEnd", message, _STOP_LONG_POLL_S)


async def _remember(
    ctx: Context, job: Object, backend: Backend, run: Run | None
) -> tuple[Object, float | None]:
    """The job with what its run did after it was given up: that it began after all, a last checkpoint."""
    if run is None or run.attempt != job["status"].get("attempts"):
        return job, None
    if run.started_at is not None:
        job = await _note(ctx, job, {"startTime": timestamp(run.started_at)})
    return await _hear_out(ctx, job, backend, run)


async def _hear_out(ctx: Context, job: Object, backend: Backend, run: Run) -> tuple[Object, float | None]:
    """The job with one more piece of its log, and when to read on; None once that was all, or nothing more will come.

    A log that cannot be read is waited for, but not for ever: with it goes the checkpoint that the next run needs.
    """
    pace = ctx.paces.setdefault(job["metadata"]["uid"], Pace())
    told = await _listen(ctx, job, backend)
    if run.reason == "RestartedByBackend":  # it prints on, and is to be ended first
        return await _note(ctx, job, told or {}), None
    if told is not None:
        pace.unheard_since = None
        moved = told.get("logPosition") != job["status"].get("logPosition")
        return await _note(ctx, job, told), 0.0 if moved else None
    pace.unheard_since = pace.unheard_since or ctx.now()
    waited_s = (ctx.now() - pace.unheard_since).total_seconds()
    return job, _STOP_POLL_S if waited_s < LINGER_S else None


async def _note(ctx: Context, job: Object, fields: Object) -> Object:
    """Written at once, and not when a small change is due: the run that tells of it will soon be gone."""
    if fields.items() <= job["status"].items():
        return job
    stored = await ctx.cluster.apply_status(names.TRAINING_JOBS, job, {**job["status"], **fields})
    ctx.store.put(names.TRAINING_JOBS, stored)
    return _stored(ctx, job)


async def _listen(ctx: Context, job: Object, backend: Backend) -> Object | None:
    """`progress` and `checkpoint` as the log has them now; None where it cannot be read for now."""
    try:
        text, position = await backend.log(ctx, job)
    except errors.ServiceRefusedError:
        return {}  # there is none
    except errors.ServiceError:
        return None  # that the backend is away shows where it is asked for the run, which is what matters
    told = training_log.advance(job["status"], text)
    return {**told, "logPosition": position} if position else told


async def _report(ctx: Context, job: Object, run: Run, told: Object) -> float | None:
    fields = {**told, "attempts": run.attempt, "jobState": run.state, **run.fields}
    if run.started_at is not None:
        fields["startTime"] = timestamp(run.started_at)
    phase = "Running" if run.state == "Running" else "Submitted"
    shown = conditions("Reconciling", run.reason, run.message, submitted=True)
    again_s = await _write(ctx, job, phase, shown, fields, fresh=run.attempt != job["status"].get("attempts"))
    return earliest(ctx.settings.training_poll_seconds, again_s)


async def _conclude(ctx: Context, job: Object, run: Run) -> float | None:
    fields = {**run.fields, **ended(ctx, job, run)}
    if run.state == "Succeeded":
        words = (run.reason, run.message)
        return await _end(ctx, job, "Complete", words, {**fields, "jobState": "Succeeded"})
    fields["failures"] = job["status"].get("failures", 0) + (0 if run.infrastructure else 1)
    after = {**job, "status": {**job["status"], **fields}}
    refused = _LATE if _is_late(ctx, after) else final(after, run)
    if refused is not None:
        return await _end(ctx, job, "Failed", refused, {**fields, "jobState": "Failed"})
    said = f"Attempt {run.attempt} failed: {run.reason}: {run.message}"
    shown = conditions("Reconciling", "Retrying", said, submitted=True)
    await _write(ctx, job, "Pending", shown, {**fields, "jobState": "Failed"})
    return 0.0


async def _suspend(ctx: Context, job: Object, run: Run, told: Object) -> float | None:
    """Written before anything is ended: whatever is then seen of the run, it was given up on purpose."""
    fields = {**told, **ended(ctx, job, run), "jobState": "Suspended"}
    shown = conditions("Reconciling", "Suspending", "The run is being ended.", submitted=True)
    await _write(ctx, job, "Suspended", shown, fields)
    return 0.0


async def _rest(ctx: Context, job: Object) -> float | None:
    shown = conditions("Suspended", "Suspended", "spec.suspend is true: nothing runs.", submitted=False)
    return await _write(ctx, job, "Suspended", shown, {"jobState": "Suspended"})


async def _end(ctx: Context, job: Object, kind: str, words: tuple[str, str], fields: Object) -> float | None:
    """`words`: reason and message."""
    shown = conditions(kind, *words, submitted=True)
    since = {"completionTime": timestamp(ctx.now())} if "completionTime" not in job["status"] else {}
    await _write(ctx, job, kind, shown, {**since, **fields})
    return await _clean_up(ctx, _stored(ctx, job))


async def _clean_up(ctx: Context, job: Object) -> float | None:
    """After the end: nothing may run on. A RayJob that ended stays for its readers, until the TrainingJob goes."""
    backend = _BACKENDS[job["spec"]["backend"]]
    job = await _note(ctx, job, {"observedGeneration": job["metadata"]["generation"]})
    try:
        run = await backend.look(ctx, job)
        if run is not None and (not run.is_over or run.reason == "RestartedByBackend"):
            await backend.stop(ctx, job)
            return _STOP_POLL_S
    except (errors.ServiceError, StalledError):
        return _UNREACHABLE_S
    await training_slurm.let_go(ctx, job)
    ttl_s = job["spec"].get("ttlSecondsAfterFinished")
    return await expire(ctx, names.TRAINING_JOBS, job, job["status"]["completionTime"], ttl_s)


async def _stalled(ctx: Context, job: Object, reason: str, message: str) -> float | None:
    job = _stored(ctx, job)  # what the pass wrote before it came to this stands
    submitted = is_true(job, "Submitted")
    return await _write(ctx, job, "Stalled", conditions("Stalled", reason, message, submitted=submitted), {})


async def _write(  # noqa: PLR0913 - the parts of a status
    ctx: Context,
    job: Object,
    phase: str,
    wanted: tuple[Condition, ...],
    fields: Object,
    *,
    fresh: bool = False,
) -> float | None:
    """`fresh`: another run than the status told of, whose times and ids are no longer true."""
    stored, generation = job["status"], job["metadata"]["generation"]
    if fresh:
        before = training_log.rewound(stored, resumes=may_resume(job))
    else:
        before = {name: stored[name] for name in (*_OF_THE_LOG, *_OF_THE_RUN) if name in stored}
    status = {
        "phase": phase,
        "observedGeneration": generation,
        "conditions": merge(stored.get("conditions") or (), wanted, generation, ctx.now()),
        **{name: stored[name] for name in _KEPT if name in stored},
        **before,
        **fields,
    }
    if status.get("jobState") != "Submitting":
        status.pop("submission", None)
    return await write_status(ctx, names.TRAINING_JOBS, job, status)


def _stored(ctx: Context, job: Object) -> Object:
    """The job as it was written last."""
    metadata = job["metadata"]
    return ctx.store.get(Key(names.TRAINING_JOBS, metadata["namespace"], metadata["name"])) or job


def _lost(job: Object) -> Run:
    attempt = job["status"]["attempts"]
    message = "The run is gone: its backend no longer knows it."
    return Run(attempt, "Failed", "RunLost", message, infrastructure=True)


def _left_s(ctx: Context, job: Object, run: Run | None) -> float | None:
    """Seconds until spec.activeDeadlineSeconds, of which earlier runs and this one have used some."""
    limit = job["spec"].get("activeDeadlineSeconds")
    if limit is None:
        return None
    left = float(limit - job["status"].get("activeSeconds", 0))
    if run is not None and run.active_since is not None:
        left -= (ctx.now() - run.active_since).total_seconds()
    return left


def _is_late(ctx: Context, job: Object) -> bool:
    """Whether the runs so far took all of spec.activeDeadlineSeconds."""
    left_s = _left_s(ctx, job, None)
    return left_s is not None and left_s <= 0


def _retry_in_s(ctx: Context, job: Object) -> float:
    """Doubling with each failure of the trainer's; none after a suspension."""
    status = job["status"]
    if status["jobState"] == "Suspended" or "completionTime" not in status:
        return 0.0
    delay_s = backoff.delay_s(ctx.settings.retry_seconds, status.get("failures", 0))
    return delay_s - (ctx.now() - parse_time(status["completionTime"])).total_seconds()
