"""Leader election over one Lease, as client-go does it.

A follower reads the Lease and takes it over when it has not changed for its whole duration *by the follower's own
clock*: clocks of different machines are never compared. Every write carries the resourceVersion that was read, so of
two replicas that try at once one gets a conflict. The leader renews three times per duration, tries again soon where
that fails, and gives up, before anybody can have taken over, when it has not managed to for two thirds of it: none of
its attempts and pauses lasts beyond that moment.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from dspy_operator import errors
from dspy_operator.store import Object


class LeaseClient(Protocol):
    """What the election needs of the cluster."""

    async def get_lease(self, namespace: str, name: str) -> Object: ...
    async def create_lease(self, lease: Object) -> Object: ...
    async def replace_lease(self, lease: Object) -> Object: ...


@dataclass(frozen=True)
class _Seen:
    """The Lease as last observed, and when (own clock) it last changed."""

    lease: Object
    at_s: float


class Elector:
    """One candidate. `clock` is monotonic seconds, `now` the time of day that is written for people to read."""

    def __init__(  # noqa: PLR0913 - each is one fact of the election
        self,
        client: LeaseClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration_s: float,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._duration_s = duration_s
        self._now = now
        self._clock = clock
        self._seen: _Seen | None = None
        self._renewed_at_s: float | None = None
        self.leading = asyncio.Event()

    @property
    def renew_s(self) -> float:
        """Pause between two renewals."""
        return self._duration_s / 3

    @property
    def poll_s(self) -> float:
        """Pause between two looks of a follower: reads, no writes, so that a released Lease is taken soon."""
        return min(2.0, self.renew_s)

    async def run(self) -> None:
        """Acquires, then renews for ever. Raises LeaseLostError once leadership is no longer certain."""
        while True:
            pause_s = self.poll_s
            try:
                async with asyncio.timeout(min(self.renew_s, self._left_s())):
                    held = await self.attempt()
            except (errors.ClusterError, TimeoutError) as error:
                self._give_up_when_late(error)
            else:
                if held:
                    self.leading.set()
                    pause_s = self.renew_s
                elif self.leading.is_set():
                    raise errors.LeaseLostError(
                        f"another replica holds the lease {self._namespace}/{self._name}"
                    )
            await asyncio.sleep(min(pause_s, self._left_s()))

    async def attempt(self) -> bool:
        """One try to take or renew the Lease. True where it is ours afterwards."""
        try:
            lease = await self._client.get_lease(self._namespace, self._name)
        except errors.NotFoundError:
            return await self._write(self._client.create_lease, self._fresh())
        self._observe(lease)
        if lease["spec"].get("holderIdentity") != self._identity and not self._expired():
            return False
        return await self._write(self._client.replace_lease, self._taken(lease))

    async def release(self) -> None:
        """Gives the Lease up, so that the next replica need not wait for it to expire."""
        if not self.leading.is_set():
            return
        self.leading.clear()
        lease = await self._client.get_lease(self._namespace, self._name)
        if lease["spec"].get("holderIdentity") == self._identity:
            lease["spec"].update(holderIdentity="", renewTime=self._timestamp())
            await self._client.replace_lease(lease)

    def _left_s(self) -> float:
        """Seconds until a leader has to have renewed the Lease; without end for a follower."""
        if not self.leading.is_set() or self._renewed_at_s is None:
            return math.inf
        return max(0.0, self._renewed_at_s + self._duration_s * 2 / 3 - self._clock())

    def _give_up_when_late(self, error: Exception) -> None:
        if self._left_s() > 0:
            return
        self.leading.clear()
        said = str(error) or "the apiserver does not answer"
        raise errors.LeaseLostError(f"the lease could not be renewed in time: {said}") from error

    def _observe(self, lease: Object) -> None:
        if self._seen is None or _version(self._seen.lease) != _version(lease):
            self._seen = _Seen(lease, self._clock())

    def _expired(self) -> bool:
        if self._seen is None:
            return False
        spec = self._seen.lease["spec"]
        if not spec.get("holderIdentity"):
            return True  # it was released
        return self._clock() - self._seen.at_s > float(spec.get("leaseDurationSeconds") or self._duration_s)

    async def _write(self, write: Callable[[Object], object], lease: Object) -> bool:
        started = self._clock()
        try:
            stored = await write(lease)  # type: ignore[misc]
        except (errors.AlreadyExistsError, errors.ConflictError):
            return False
        self._observe(stored)
        self._renewed_at_s = started
        return True

    def _fresh(self) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": self._spec(transitions=0, acquired=self._timestamp()),
        }

    def _taken(self, lease: Object) -> Object:
        spec = lease["spec"]
        ours = spec.get("holderIdentity") == self._identity
        transitions = int(spec.get("leaseTransitions") or 0) + (0 if ours else 1)
        acquired = spec.get("acquireTime") if ours else None
        return {**lease, "spec": self._spec(transitions, acquired or self._timestamp())}

    def _spec(self, transitions: int, acquired: str) -> Object:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._duration_s)),
            "acquireTime": acquired,
            "renewTime": self._timestamp(),
            "leaseTransitions": transitions,
        }

    def _timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _version(lease: Object) -> str:
    return str(lease["metadata"]["resourceVersion"])
