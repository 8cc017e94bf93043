"""What the operator remembers, and what it must not be told twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from dspy_operator import errors, names, resync
from dspy_operator.names import Key
from dspy_operator.reconcile.context import Context
from dspy_operator.reconcile.start import note_loss
from dspy_operator.store import PODS, Object, Store

from tests.operator import builders

KEY = Key(names.AGENT_SESSIONS, "team", "fix")


def seen(version: int, uid: str = builders.UID, **more: Any) -> Object:
    made = builders.owner("fix", **more)
    made["metadata"].update(resourceVersion=str(version), uid=uid, managedFields=[{"big": "x" * 1000}])
    return made


def test_older_news_are_dropped() -> None:
    store = Store()
    store.put(names.AGENT_SESSIONS, seen(9, storage="new"))
    store.put(names.AGENT_SESSIONS, seen(8, storage="old"))
    kept = store.get(KEY)
    assert kept is not None
    assert kept["spec"] == {"storage": "new"}
    assert "managedFields" not in kept["metadata"]


def test_a_late_answer_does_not_revive_the_dead() -> None:
    store = Store()
    store.put(names.AGENT_SESSIONS, seen(5))
    store.remove(names.AGENT_SESSIONS, seen(6))
    store.put(names.AGENT_SESSIONS, seen(5))
    assert store.get(KEY) is None
    store.put(names.AGENT_SESSIONS, seen(7, uid="another"))
    assert store.get(KEY) is not None


def test_a_namesakes_end_is_not_ours() -> None:
    store = Store()
    store.put(names.AGENT_SESSIONS, seen(7, uid="second"))
    store.remove(names.AGENT_SESSIONS, seen(6, uid="first"))
    assert store.get(KEY) is not None


def test_pods_are_found_by_their_owner() -> None:
    store = Store()
    store.put(PODS, builders.pod())
    assert [pod["metadata"]["name"] for pod in store.pods_of(builders.UID)] == ["fix"]
    store.put(PODS, builders.pod(attempt=2))  # the same name, another pod
    assert [pod["metadata"]["uid"] for pod in store.pods_of(builders.UID)] == ["pod-2"]
    store.remove(PODS, builders.pod(attempt=2))
    assert store.pods_of(builders.UID) == []


def test_tombstones_are_bounded() -> None:
    store = Store()
    for number in range(10_000):
        store.remove(names.AGENT_SESSIONS, seen(1, uid=str(number)))
    assert len(store._gone) <= 4096


def context(tmp_path: Path, store: Store) -> Context:
    async def wake(key: Key) -> None:
        raise AssertionError(f"{key} was woken")

    unused = cast("Any", None)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Context(builders.settings(tmp_path / "token"), unused, unused, store, lambda: now, wake)


def test_losses_are_kept_for_living_owners_only(tmp_path: Path) -> None:
    store = Store()
    ctx = context(tmp_path, store)
    note_loss(ctx, builders.pod())
    assert store.losses == {}
    store.put(names.AGENT_SESSIONS, seen(5))
    note_loss(ctx, builders.pod(attempt=3, phase="Failed", reason="Evicted", message="memory"))
    assert store.losses[builders.UID].attempt == 3
    assert store.losses[builders.UID].reason == "Evicted: memory"
    store.remove(names.AGENT_SESSIONS, seen(5))
    assert store.losses == {}


class FakeLister:
    """Lists what it is given."""

    def __init__(self, *items: Object) -> None:
        self.items = items

    async def metadata(self, plural: str, namespace: str | None, selector: str = "") -> AsyncIterator[Object]:
        for item in self.items:
            yield item


class FailingLister:
    """An apiserver in trouble; tells when each kind was asked for twice."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.twice = asyncio.Event()

    async def metadata(self, plural: str, namespace: str | None, selector: str = "") -> AsyncIterator[Object]:
        self.asked[plural] += 1
        if set(self.asked) == {*names.KINDS, PODS} and min(self.asked.values()) > 1:
            self.twice.set()
        yield seen(5)
        raise errors.ClusterError("the provided continue parameter is too old", 410)


async def test_resync_outlives_an_apiserver_in_trouble(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, lister = Store(), FailingLister()
    store.put(PODS, builders.pod())

    async def enqueue(key: Key) -> None:
        raise AssertionError(f"{key} was taken for deleted")

    keeper = asyncio.create_task(resync.keep(context(tmp_path, store), lister, (), enqueue, period_s=0))
    await lister.twice.wait()
    keeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeper
    assert len(store.pods_of(builders.UID)) == 1
    assert {record.__dict__["resource"] for record in caplog.records} == {*names.KINDS, PODS}


async def test_resync_forgets_what_a_broken_watch_hid(tmp_path: Path) -> None:
    store = Store()
    store.put(names.AGENT_SESSIONS, seen(5))
    store.put(PODS, builders.pod())
    ctx, enqueued = context(tmp_path, store), []

    async def enqueue(key: Key) -> None:
        enqueued.append(key)

    await resync.once(ctx, FakeLister(seen(5)), names.AGENT_SESSIONS, (), enqueue)
    assert store.get(KEY) is not None
    await resync.once(ctx, FakeLister(), PODS, (), enqueue)
    assert store.pods_of(builders.UID) == []
    assert store.losses[builders.UID].attempt == 1
    assert enqueued == [KEY]
