"""What the operator remembers of the cluster: filled by watches and the answers to its own writes, read by reconciles.

Whatever is asked for at every event has an index: nothing here looks at all objects for the sake of one.

Objects are trimmed to what a reconcile looks at, so that memory follows what we keep and not what users store.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dspy_operator import names
from dspy_operator.names import Key

Object = dict[str, Any]

PODS = "pods"
_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
)
_POD_STATUS = (
    "phase",
    "reason",
    "message",
    "podIP",
    "conditions",
    "initContainerStatuses",
    "containerStatuses",
)
_POD_LABELS = (names.LABEL_QUEUE, names.LABEL_POOL, names.LABEL_CLAIMED_FROM)
_POD_ANNOTATIONS = (
    names.ANNOTATION_ATTEMPT,
    names.ANNOTATION_INDEX,
    names.ANNOTATION_TEMPLATE_HASH,
    names.ANNOTATION_LAUNCH_REASON,
)
_TOMBSTONES = 4096


@dataclass(frozen=True)
class Loss:
    """The latest pod that an object lost. `attempt` is that pod's, `at_s` when we noticed (Unix time).

    `may_have_run`: whether a task's command can have begun in it.
    """

    attempt: int
    reason: str
    at_s: float
    may_have_run: bool = True


class Store:
    """Objects by key, pods by owner, sessions and claimed pods by pool.

    Not for concurrent threads: the operator is one event loop.
    """

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._by_kind: dict[str, dict[Key, None]] = {plural: {} for plural in (*names.KINDS, PODS)}
        self._sessions_of: defaultdict[Key, dict[Key, None]] = defaultdict(
            dict
        )  # pool's key → sessions' keys
        self._claimed: defaultdict[Key, dict[Key, None]] = defaultdict(dict)  # pool's key → pods' keys
        self._pods_of: defaultdict[str, dict[Key, None]] = defaultdict(dict)  # owner's uid → pods' keys
        self._gone: OrderedDict[str, None] = OrderedDict()  # uids that were deleted lately
        self.losses: dict[str, Loss] = {}  # by owner's uid
        self.run_losses: defaultdict[str, dict[tuple[int, int], Loss]] = defaultdict(
            dict
        )  # …, index and attempt

    def get(self, key: Key) -> Object | None:
        """The object as last seen, or None."""
        return self._objects.get(key)

    def keys(self, plural: str, namespace: str | None = None) -> Iterator[Key]:
        """Keys of a kind, in one namespace or in all."""
        return (key for key in list(self._by_kind[plural]) if namespace in (None, key.namespace))

    def sessions_of(self, pool: Key) -> list[Key]:
        """The sessions that name the pool and are not finished."""
        return list(self._sessions_of.get(pool, ()))

    def claimed(self, pool: Key) -> int:
        """How many pods of the pool sessions hold, ended ones left out."""
        return len(self._claimed.get(pool, ()))

    def pods_of(self, owner_uid: str) -> list[Object]:
        """The pods that the object with that uid controls."""
        return [self._objects[key] for key in self._pods_of.get(owner_uid, ())]

    def put(self, plural: str, seen: Object) -> None:
        """Remembers an object unless something newer is known. A late answer never revives what a watch saw go."""
        key = key_of(plural, seen)
        metadata = seen["metadata"]
        if metadata["uid"] in self._gone:
            return
        known = self._objects.get(key)
        if (
            known is not None
            and known["metadata"]["uid"] == metadata["uid"]
            and _version(known) > _version(seen)
        ):
            return
        if known is not None:
            self._unlink(key, known)
        kept = _trim_pod(seen) if plural == PODS else _trim(seen)
        self._objects[key] = kept
        self._by_kind[plural][key] = None
        for index, entry in self._entries(key, kept):
            index[entry][key] = None

    def remove(self, plural: str, seen: Object) -> None:
        """Forgets a deleted object, and everything that was only known for its sake."""
        uid = seen["metadata"]["uid"]
        self._gone[uid] = None
        if len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        key = key_of(plural, seen)
        known = self._objects.get(key)
        if known is None or known["metadata"]["uid"] != uid:
            return
        del self._objects[key]
        del self._by_kind[key.plural][key]
        self._unlink(key, known)
        self.losses.pop(uid, None)
        self.run_losses.pop(uid, None)

    def count(self) -> dict[str, int]:
        """How many objects of each kind are kept."""
        return {plural: len(keys) for plural, keys in self._by_kind.items()}

    def count_of(self, plural: str) -> float:
        """How many objects of one kind are kept."""
        return len(self._by_kind[plural])

    def _entries(self, key: Key, kept: Object) -> Iterator[tuple[defaultdict[Any, dict[Key, None]], Any]]:
        """Where an object is found besides its key: each index, and the entry in it."""
        if key.plural == PODS:
            owner = owner_of(kept)
            if owner is not None:
                yield self._pods_of, owner["uid"]
            pool = claimed_from(kept)
            if pool is not None and not has_ended(kept):
                yield self._claimed, pool
        elif key.plural == names.AGENT_SESSIONS:
            pool = pool_of(kept)
            if pool is not None and "finishTime" not in kept["status"]:
                yield self._sessions_of, pool

    def _unlink(self, key: Key, known: Object) -> None:
        for index, entry in self._entries(key, known):
            index[entry].pop(key, None)
            if not index[entry]:
                del index[entry]


def key_of(plural: str, seen: Object) -> Key:
    """The key of an object as the API shows it."""
    metadata = seen["metadata"]
    return Key(plural, metadata["namespace"], metadata["name"])


def owner_of(seen: Object) -> Object | None:
    """The controlling ownerReference, where it is one of our kinds."""
    for reference in seen["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference["apiVersion"].split("/")[0] == names.GROUP:
            owner: Object = reference
            return owner
    return None


def owner_key(pod: Object) -> Key | None:
    """The queue key of a pod's owner."""
    owner = owner_of(pod)
    if owner is None or owner["kind"] not in names.PLURALS:
        return None
    return Key(names.PLURALS[owner["kind"]], pod["metadata"]["namespace"], owner["name"])


def pool_of(session: Object) -> Key | None:
    """The key of the pool that a session names."""
    reference = session["spec"].get("poolRef")
    if reference is None:
        return None
    return Key(names.AGENT_POOLS, session["metadata"]["namespace"], reference["name"])


def claimed_from(pod: Object) -> Key | None:
    """The key of the pool that a session's pod came from, if it was warm."""
    pool = pod["metadata"].get("labels", {}).get(names.LABEL_CLAIMED_FROM)
    return Key(names.AGENT_POOLS, pod["metadata"]["namespace"], pool) if pool else None


def has_ended(pod: Object) -> bool:
    """Whether the pod as a whole is over; it may still be there, for its logs."""
    return pod["status"].get("phase") in ("Failed", "Succeeded")


def _version(seen: Object) -> int:
    # Kubernetes 1.35 documents resource versions as comparable integers; etcd-backed servers always had them so.
    return int(seen["metadata"]["resourceVersion"])


def _trim(seen: Object) -> Object:
    metadata = _metadata(seen, (names.LABEL_QUEUE,))
    return {"metadata": metadata, "spec": seen.get("spec") or {}, "status": seen.get("status") or {}}


def _trim_pod(seen: Object) -> Object:
    metadata = _metadata(seen, _POD_LABELS)
    metadata["ownerReferences"] = seen["metadata"].get("ownerReferences") or []
    metadata["annotations"] = _only(seen["metadata"].get("annotations"), _POD_ANNOTATIONS)
    status = seen.get("status") or {}
    return {
        "metadata": metadata,
        "spec": {"nodeName": (seen.get("spec") or {}).get("nodeName")},
        "status": {name: status[name] for name in _POD_STATUS if name in status},
    }


def _metadata(seen: Object, labels: Iterable[str]) -> Object:
    metadata = seen["metadata"]
    kept = {name: metadata[name] for name in _METADATA if name in metadata}
    kept["labels"] = _only(metadata.get("labels"), labels)
    return kept


def _only(values: Object | None, wanted: Iterable[str]) -> Object:
    return {name: values[name] for name in wanted if values.get(name)} if values else {}
