"""Leader election against a Lease in memory that keeps resourceVersions, with clocks that we turn."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from dspy_operator import errors
from dspy_operator.lease import Elector
from dspy_operator.store import Object


class FakeLeases:
    """One Lease with the apiserver's rule: a write must name the version that it replaces."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.failing = False
        self.hang: Callable[[], None] | None = None  # called by a request that is never answered
        self._versions = itertools.count(1)

    async def get_lease(self, namespace: str, name: str) -> Object:
        self._maybe_fail()
        if self.hang is not None:
            self.hang()
            await asyncio.Event().wait()
        if self.lease is None:
            raise errors.NotFoundError("no lease", 404)
        return copy.deepcopy(self.lease)

    async def create_lease(self, lease: Object) -> Object:
        self._maybe_fail()
        if self.lease is not None:
            raise errors.AlreadyExistsError("exists", 409)
        return self._store(lease)

    async def replace_lease(self, lease: Object) -> Object:
        self._maybe_fail()
        if (
            self.lease is None
            or lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]
        ):
            raise errors.ConflictError("changed", 409)
        return self._store(lease)

    def _store(self, lease: Object) -> Object:
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(next(self._versions))
        return copy.deepcopy(self.lease)

    def _maybe_fail(self) -> None:
        if self.failing:
            raise errors.UnavailableError("down", 503)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, start: float = 0.0) -> None:
        self.seconds = start

    def __call__(self) -> float:
        return self.seconds


def elector(leases: FakeLeases, identity: str, clock: Clock, duration_s: float = 30.0) -> Elector:
    return Elector(
        leases,
        namespace="system",
        name="dspy-operator",
        identity=identity,
        duration_s=duration_s,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        clock=clock,
    )


async def test_first_takes_it_second_waits() -> None:
    leases, clock = FakeLeases(), Clock()
    first, second = elector(leases, "a", clock), elector(leases, "b", clock)
    assert await first.attempt()
    assert not await second.attempt()
    clock.seconds = 20
    assert await first.attempt()
    assert not await second.attempt()
    clock.seconds = 45  # 25 s after b saw the renewal
    assert not await second.attempt()


async def test_silence_for_the_whole_duration_is_a_takeover() -> None:
    leases, ours, theirs = FakeLeases(), Clock(), Clock(start=1_000_000)
    first, second = elector(leases, "a", ours), elector(leases, "b", theirs)
    await first.attempt()
    assert not await second.attempt()
    theirs.seconds += 31
    assert await second.attempt()
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 1
    assert not await first.attempt()


async def test_a_new_candidate_waits_however_old_the_lease_looks() -> None:
    leases = FakeLeases()
    await elector(leases, "a", Clock()).attempt()
    assert leases.lease is not None
    leases.lease["spec"]["renewTime"] = (
        "2001-01-01T00:00:00.000000Z"  # another machine's clock proves nothing
    )
    assert not await elector(leases, "b", Clock(5)).attempt()


async def test_of_two_that_see_it_expire_one_wins() -> None:
    leases, clock = FakeLeases(), Clock()
    await elector(leases, "dead", clock).attempt()
    first, second = elector(leases, "a", clock), elector(leases, "b", clock)
    await first.attempt()
    await second.attempt()
    clock.seconds = 31
    stale = await leases.get_lease("", "")
    assert await first.attempt()
    leases_get = leases.get_lease

    async def late_read(namespace: str, name: str) -> Object:
        return stale

    leases.get_lease = late_read  # type: ignore[method-assign]
    assert not await second.attempt()
    leases.get_lease = leases_get  # type: ignore[method-assign]


async def test_a_restart_under_the_same_name_leads_on() -> None:
    leases, clock = FakeLeases(), Clock()
    await elector(leases, "a", clock).attempt()
    assert await elector(leases, "a", clock).attempt()
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 0


async def test_release_lets_the_next_one_in_at_once() -> None:
    leases, clock = FakeLeases(), Clock()
    first, second = elector(leases, "a", clock), elector(leases, "b", clock)
    await first.attempt()
    first.leading.set()
    assert not await second.attempt()
    await first.release()
    assert await second.attempt()


async def test_a_follower_releases_nothing() -> None:
    leases, clock = FakeLeases(), Clock()
    await elector(leases, "a", clock).attempt()
    await elector(leases, "b", clock).release()
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == "a"


async def test_a_leader_that_cannot_renew_gives_up_before_others_may_take_over() -> None:
    leases, clock = FakeLeases(), Clock()
    # Real pauses are a third of the duration: hundredths of a second here, while the clock is turned by hand.
    leader = elector(leases, "a", clock, duration_s=0.03)
    await leader.attempt()
    leader.leading.set()
    leases.failing = True
    clock.seconds = 0.025
    with pytest.raises(errors.LeaseLostError, match="could not be renewed"):
        await leader.run()
    assert not leader.leading.is_set()


@pytest.mark.timeout(
    5
)  # an attempt bounded by itself alone would hang for a third of the duration: ten seconds
async def test_a_leader_whose_last_attempt_hangs_gives_up_before_others_may_take_over() -> None:
    leases, clock = FakeLeases(), Clock()
    leader = elector(leases, "a", clock)
    await leader.attempt()
    leader.leading.set()
    clock.seconds = 19.99

    def until_two_thirds() -> None:
        clock.seconds = 20

    leases.hang = until_two_thirds
    with pytest.raises(errors.LeaseLostError, match="does not answer"):
        await leader.run()
    assert not leader.leading.is_set()


async def test_a_leader_that_sees_another_holder_stops() -> None:
    leases, clock = FakeLeases(), Clock()
    leader = elector(leases, "a", clock, duration_s=0.03)
    await leader.attempt()
    leader.leading.set()
    assert leases.lease is not None
    leases.lease["spec"]["holderIdentity"] = "b"
    with pytest.raises(errors.LeaseLostError, match="another replica"):
        await leader.run()
