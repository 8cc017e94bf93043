"""What the operator remembers of the cluster: filled by watches and the answers to its own writes, read by reconciles.

Objects are trimmed to what a reconcile looks at, so that memory follows what we keep and not what users store.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
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
    """Objects by key, pods by owner. Not for concurrent threads: the operator is one event loop."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._pods_of: defaultdict[str, dict[str, Key]] = defaultdict(dict)  # owner's uid → pod's name → key
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
        return (k for k in list(self._objects) if k.plural == plural and namespace in (None, k.namespace))

    def pods_of(self, owner_uid: str) -> list[Object]:
        """The pods that the object with that uid controls."""
        return [self._objects[key] for key in self._pods_of.get(owner_uid, {}).values()]

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
        owner = owner_of(kept)
        if plural == PODS and owner is not None:
            self._pods_of[owner["uid"]][key.name] = key

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
        self._unlink(key, known)
        self.losses.pop(uid, None)
        self.run_losses.pop(uid, None)

    def count(self) -> dict[str, int]:
        """How many objects of each kind are kept."""
        counts = dict.fromkeys([*names.KINDS, PODS], 0)
        for key in self._objects:
            counts[key.plural] += 1
        return counts

    def count_of(self, plural: str) -> float:
        """How many objects of one kind are kept."""
        return self.count()[plural]

    def _unlink(self, key: Key, known: Object) -> None:
        owner = owner_of(known)
        if key.plural != PODS or owner is None:
            return
        pods = self._pods_of[owner["uid"]]
        pods.pop(key.name, None)
        if not pods:
            del self._pods_of[owner["uid"]]


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


def _version(seen: Object) -> int:
    # Kubernetes 1.35 documents resource versions as comparable integers; etcd-backed servers always had them so.
    return int(seen["metadata"]["resourceVersion"])


def _trim(seen: Object) -> Object:
    return {"metadata": _metadata(seen), "spec": seen.get("spec") or {}, "status": seen.get("status") or {}}


def _trim_pod(seen: Object) -> Object:
    metadata = _metadata(seen)
    metadata["ownerReferences"] = seen["metadata"].get("ownerReferences") or []
    annotations = seen["metadata"].get("annotations") or {}
    kept = (names.ANNOTATION_ATTEMPT, names.ANNOTATION_INDEX)
    metadata["annotations"] = {name: annotations[name] for name in kept if name in annotations}
    status = seen.get("status") or {}
    return {
        "metadata": metadata,
        "spec": {"nodeName": (seen.get("spec") or {}).get("nodeName")},
        "status": {name: status[name] for name in _POD_STATUS if name in status},
    }


def _metadata(seen: Object) -> Object:
    metadata = seen["metadata"]
    kept = {name: metadata[name] for name in _METADATA if name in metadata}
    queue = (metadata.get("labels") or {}).get(names.LABEL_QUEUE)
    kept["labels"] = {names.LABEL_QUEUE: queue} if queue else {}
    return kept
