"""What every reconcile is given, and the two things that all of them do: write a status, clean up after the end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from dspy_operator import errors, names
from dspy_operator.names import Key
from dspy_operator.reconcile.claims import Claims
from dspy_operator.reconcile.pauses import Pause
from dspy_operator.settings import Settings
from dspy_operator.status.conditions import Change, Minor, compare, find, parse_time, timestamp
from dspy_operator.store import Object, Store

logger = logging.getLogger(__name__)


class ClusterClient(Protocol):
    """The part of cluster.py that reconciles use."""

    async def create_pod(self, manifest: Object) -> Object: ...
    async def get_pod(self, namespace: str, name: str) -> Object: ...
    def pods_of(self, plural: str, owner: Object) -> AsyncIterator[Object]: ...
    async def patch_pod(self, seen: Object, change: Object) -> Object: ...
    async def delete_pod(self, pod: Object, *, if_unchanged: bool = False) -> None: ...
    async def delete(self, plural: str, seen: Object) -> None: ...
    async def apply_status(self, plural: str, seen: Object, status: Object) -> Object: ...
    async def keys_in_secret(self, namespace: str, name: str) -> frozenset[str]: ...
    async def keys_in_config_map(self, namespace: str, name: str) -> frozenset[str]: ...
    async def secret(self, namespace: str, name: str) -> dict[str, str]: ...
    async def config_map(self, namespace: str, name: str) -> Object: ...
    async def create_event(self, event: Object) -> None: ...
    async def set_finalizers(self, plural: str, seen: Object, finalizers: list[str]) -> Object: ...
    async def create_ray_job(self, manifest: Object) -> Object: ...
    async def get_ray_job(self, namespace: str, name: str) -> Object | None: ...
    async def delete_ray_job(self, seen: Object) -> None: ...


class RayLogs(Protocol):
    """The part of ray_dashboard.py that reconciles use."""

    async def tail(self, address: str, job_id: str) -> str: ...


class TaskQueue(Protocol):
    """The part of orchestrator.py that reconciles use."""

    async def submit(self, task: Object) -> str: ...
    async def get(self, task_id: str) -> Object | None: ...
    async def cancel(self, task_id: str) -> Object | None: ...
    async def log(self, task_id: str, position: str) -> tuple[str, str]: ...


class AgentClient(Protocol):
    """agents.py, as reconciles use it."""

    async def bind(self, endpoint: str, token: str, body: bytes, wait_s: int) -> str: ...


@dataclass
class Pace:
    """What a process remembers of a task with many runs: what it need not do again, and when it did what it may not do
    often; of a training job, since when its log could not be read, or its run should end. Times are `Context.now`'s.
    """

    pods_listed: bool = False
    references_checked: bool = False
    looked_at: datetime | None = None
    written_at: datetime | None = None
    unheard_since: datetime | None = None
    stopping_since: datetime | None = None


@dataclass
class Context:
    """`now` is the time of day (UTC, aware); `wake` has an object looked at.

    `ray_logs` and `task_queue` are what training reaches beside the Kubernetes API, where it is there.
    `minor_since` remembers when a status began to differ in small things. `paces` has those of tasks with
    many runs, by uid; `template_hashes` those of pools, by uid, with what they were made from.
    """

    settings: Settings
    cluster: ClusterClient
    agents: AgentClient
    store: Store
    now: Callable[[], datetime]
    wake: Callable[[Key], Awaitable[None]]
    claims: Claims = field(default_factory=Claims)
    pauses: dict[Key, Pause] = field(default_factory=dict)
    minor_since: dict[str, datetime] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)
    template_hashes: dict[str, tuple[tuple[int, bytes], str]] = field(default_factory=dict)
    ray_logs: RayLogs | None = None
    task_queue: TaskQueue | None = None

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self.minor_since.pop(uid, None)
        self.paces.pop(uid, None)
        self.template_hashes.pop(uid, None)
        self.claims.forget_session(uid)


async def write_status(
    ctx: Context,
    plural: str,
    seen: Object,
    status: Object,
    minor: Minor = Minor(),  # noqa: B008 - frozen
) -> float | None:
    """Writes the status where it says something new. Returns when to come back for what can wait, in seconds.

    A newly stalled object gets an Event first: the other way round, an operator that ends between the two loses it.
    """
    uid, now = seen["metadata"]["uid"], ctx.now()
    change = compare(seen["status"], status, minor)
    if change is Change.MINOR:
        since = ctx.minor_since.setdefault(uid, now)
        left_s = minor.delay_s - (now - since).total_seconds()
        if left_s > 0:
            return left_s
    ctx.minor_since.pop(uid, None)
    if change is Change.NONE:
        return None
    if _newly_stalled(seen, status):
        stalled = find({"status": status}, "Stalled") or {}
        await tell(ctx, plural, seen, stalled["reason"], stalled["message"])
    ctx.store.put(plural, await ctx.cluster.apply_status(plural, seen, status))
    return None


async def expire(
    ctx: Context, plural: str, seen: Object, finished_at: str, ttl_s: int | None
) -> float | None:
    """Deletes an object whose time after its end is over. Returns the seconds that are left, or None."""
    if ttl_s is None:
        return None
    left_s = (parse_time(finished_at) + timedelta(seconds=ttl_s) - ctx.now()).total_seconds()
    if left_s > 0:
        return left_s
    await ctx.cluster.delete(plural, seen)
    return None


def earliest(*delays_s: float | None) -> float | None:
    """The soonest of several wishes to look again."""
    return min((delay for delay in delays_s if delay is not None), default=None)


async def tell(ctx: Context, plural: str, seen: Object, reason: str, message: str) -> None:
    """Creates a warning where the cluster takes it: the status says the same, and must not wait for a quota."""
    event = _warning(plural, seen, reason, message, ctx.now())
    try:
        await ctx.cluster.create_event(event)
    except errors.ClusterError as error:
        said = {"event": event["metadata"]["name"], "error": str(error)}
        logger.warning("an Event could not be created", extra=said)


def _newly_stalled(seen: Object, status: Object) -> bool:
    wanted = find({"status": status}, "Stalled")
    if wanted is None or wanted["status"] != "True":
        return False
    stored = find(seen, "Stalled")
    return stored is None or (stored["status"], stored["reason"]) != ("True", wanted["reason"])


def _warning(plural: str, seen: Object, reason: str, message: str, now: datetime) -> Object:
    metadata = seen["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": metadata["namespace"],
            "name": names.event_name(metadata["name"], metadata["uid"], reason, message),
        },
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KINDS[plural],
            **{key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")},
        },
        "type": "Warning",
        "reason": reason,
        "message": message[:1024],
        "source": {"component": names.FIELD_MANAGER},
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
