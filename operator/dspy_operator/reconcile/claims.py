"""What this process alone knows of warm pods: nothing here is needed after a restart, it only saves work and waits."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from dspy_operator.names import Key


class Claims:
    """Pods that are being claimed, pods whose agents have their session, and sessions that wait for a pod."""

    def __init__(self) -> None:
        self._reserved: set[str] = set()  # pods' uids
        self._bound: set[str] = set()  # pods' uids
        self._given_up: set[str] = set()  # pods' uids
        self._failures: dict[str, int] = {}  # by pod's uid
        self._refused: dict[
            str, tuple[str, str]
        ] = {}  # session's uid → the request's fingerprint, the agent's words
        # Pool's key → its sessions' keys, and since when each waits.
        self._waiting: defaultdict[Key, dict[Key, datetime]] = defaultdict(dict)
        self._pools: dict[Key, Key] = {}  # waiting session's key → its pool's

    @contextlib.contextmanager
    def reserved(self, pod_uid: str) -> Iterator[None]:
        """Keeps a pod for one session while it is claimed, so that two do not try the same one."""
        self._reserved.add(pod_uid)
        try:
            yield
        finally:
            self._reserved.discard(pod_uid)

    def is_reserved(self, pod_uid: str) -> bool:
        """Whether a session is claiming the pod now."""
        return pod_uid in self._reserved

    def bound(self, pod_uid: str) -> None:
        """The pod's agent said that its session is ready: from here on the pod's readiness tells everything."""
        self._bound.add(pod_uid)
        self._failures.pop(pod_uid, None)

    def is_bound(self, pod_uid: str) -> bool:
        """Whether the pod's agent is known to have its session."""
        return pod_uid in self._bound

    def failed(self, pod_uid: str) -> int:
        """Counts a request that the pod's agent did not answer. Returns how many there are."""
        self._failures[pod_uid] = self._failures.get(pod_uid, 0) + 1
        return self._failures[pod_uid]

    def gave_up(self, pod_uid: str) -> None:
        """The pod's agent never had the session that claimed it: it is nothing that the session loses."""
        self._given_up.add(pod_uid)

    def is_given_up(self, pod_uid: str) -> bool:
        """Whether the pod's agent never had the session that claimed it, and is not to have it."""
        return pod_uid in self._given_up

    def refuse(self, session_uid: str, fingerprint: str, message: str) -> None:
        """An agent cannot take that request, and so none can."""
        self._refused[session_uid] = fingerprint, message

    def refusal(self, session_uid: str, fingerprint: str) -> str | None:
        """What an agent said against that request, if one did."""
        refused, message = self._refused.get(session_uid, ("", ""))
        return message if refused == fingerprint else None

    def forget_session(self, session_uid: str) -> None:
        """The session is gone."""
        self._refused.pop(session_uid, None)

    def forget(self, pod_uid: str) -> None:
        """The pod is gone."""
        self._bound.discard(pod_uid)
        self._given_up.discard(pod_uid)
        self._failures.pop(pod_uid, None)

    def wait(self, session: Key, pool: Key | None, now: datetime) -> None:
        """The session waits for a pod of the pool; its turn stays the same, however often it says so."""
        if pool is not None:
            self._pools[session] = pool
            self._waiting[pool].setdefault(session, now)

    def waits_since(self, session: Key) -> datetime | None:
        """When the session began to wait, if it waits."""
        pool = self._pools.get(session)
        return None if pool is None else self._waiting[pool][session]

    def leave(self, session: Key) -> Key | None:
        """The session waits no longer. Returns the pool that it waited for, if it did."""
        pool = self._pools.pop(session, None)
        if pool is not None:
            del self._waiting[pool][session]
            if not self._waiting[pool]:
                del self._waiting[pool]
        return pool

    def waiting(self, pool: Key, count: int) -> list[Key]:
        """The sessions whose turn it is, at most so many."""
        return list(islice(self._waiting.get(pool, ()), count))
