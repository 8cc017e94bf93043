"""A cluster in memory with the one rule of the apiserver that reconciles lean on: a name is taken once."""

from __future__ import annotations

import copy
import itertools
from collections.abc import AsyncIterator

from dspy_operator import errors
from dspy_operator.store import Object


class FakeCluster:
    """Implements reconcile.context.ClusterClient. `failing` makes every write fail as an apiserver in trouble does.

    `refusing_events`, `refusing_pods`: they are refused as by a quota. `config_maps`: keys by name; there are no
    Secrets to be read, and there is no KubeRay.
    """

    def __init__(self) -> None:
        self.pods: dict[str, Object] = {}
        self.created: list[str] = []
        self.statuses: list[Object] = []
        self.deleted: list[str] = []
        self.events: list[Object] = []
        self.config_maps: dict[str, frozenset[str]] = {}
        self.reads: list[str] = []  # of ConfigMaps
        self.failing = False
        self.fails_after: int | None = None  # so many writes more are taken
        self.graceful = False  # a deleted pod stays, with a deletionTimestamp, until `gone` is called
        self.refusing_events = False
        self.refusing_pods = False
        self.versions = itertools.count(100)

    async def create_pod(self, manifest: Object) -> Object:
        self._maybe_fail()
        name = manifest["metadata"]["name"]
        if self.refusing_pods:
            raise errors.ForbiddenError("exceeded quota: small", 403)
        if name in self.pods:
            raise errors.AlreadyExistsError(f"pods {name!r} already exists", 409)
        made = copy.deepcopy(manifest)
        version = next(self.versions)
        made["metadata"].update(
            uid=f"pod-{version}", resourceVersion=str(version), creationTimestamp="2026-01-01T00:00:00Z"
        )
        made["status"] = {"phase": "Pending"}
        self.pods[name] = made
        self.created.append(name)
        return copy.deepcopy(made)

    async def get_pod(self, namespace: str, name: str) -> Object:
        if name not in self.pods:
            raise errors.NotFoundError(name, 404)
        return copy.deepcopy(self.pods[name])

    async def pods_of(self, plural: str, owner: Object) -> AsyncIterator[Object]:
        for pod in list(self.pods.values()):
            if any(each["uid"] == owner["metadata"]["uid"] for each in pod["metadata"]["ownerReferences"]):
                yield copy.deepcopy(pod)

    async def patch_pod(self, seen: Object, change: Object) -> Object:
        self._maybe_fail()
        stored = self.pods.get(seen["metadata"]["name"])
        if stored is None:
            raise errors.NotFoundError(seen["metadata"]["name"], 404)
        if stored["metadata"]["resourceVersion"] != seen["metadata"]["resourceVersion"]:
            raise errors.ConflictError("the object has been modified", 409)
        metadata, wanted = stored["metadata"], change["metadata"]
        for field in ("labels", "annotations"):
            merged = {**metadata.get(field, {}), **wanted[field]}
            metadata[field] = {name: value for name, value in merged.items() if value is not None}
        metadata["ownerReferences"] = wanted["ownerReferences"]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        return copy.deepcopy(stored)

    async def delete_pod(self, pod: Object, *, if_unchanged: bool = False) -> None:
        self._maybe_fail()
        name = pod["metadata"]["name"]
        self.deleted.append(name)
        if self.graceful and name in self.pods:
            self.pods[name]["metadata"].setdefault("deletionTimestamp", "2026-01-01T00:00:10Z")
        else:
            self.pods.pop(name, None)

    async def delete(self, plural: str, seen: Object) -> None:
        self._maybe_fail()
        self.deleted.append(seen["metadata"]["name"])

    async def apply_status(self, plural: str, seen: Object, status: Object) -> Object:
        self._maybe_fail()
        self.statuses.append(status)
        version = str(next(self.versions))
        return {**seen, "metadata": {**seen["metadata"], "resourceVersion": version}, "status": status}

    async def secret(self, namespace: str, name: str) -> dict[str, str]:
        raise errors.ForbiddenError("secrets are not for operators", 403)

    async def config_map(self, namespace: str, name: str) -> Object:
        return {"data": dict.fromkeys(await self.keys_in_config_map(namespace, name), "")}

    async def keys_in_secret(self, namespace: str, name: str) -> frozenset[str]:
        raise errors.ForbiddenError("secrets are not for operators", 403)

    async def keys_in_config_map(self, namespace: str, name: str) -> frozenset[str]:
        self.reads.append(name)
        if name not in self.config_maps:
            raise errors.NotFoundError(name, 404)
        return self.config_maps[name]

    async def create_event(self, event: Object) -> None:
        self._maybe_fail()
        if self.refusing_events:
            raise errors.ForbiddenError("exceeded quota: events", 403)
        self.events.append(event)

    async def set_finalizers(self, plural: str, seen: Object, finalizers: list[str]) -> Object:
        self._maybe_fail()
        version = str(next(self.versions))
        return {
            **seen,
            "metadata": {**seen["metadata"], "resourceVersion": version, "finalizers": finalizers},
        }

    async def create_ray_job(self, manifest: Object) -> Object:
        raise errors.NotFoundError("the server could not find the requested resource", 404)

    async def get_ray_job(self, namespace: str, name: str) -> Object | None:
        return None

    async def delete_ray_job(self, seen: Object) -> None:
        self._maybe_fail()

    def _maybe_fail(self) -> None:
        if self.fails_after is not None:
            self.fails_after -= 1
        if self.failing or (self.fails_after is not None and self.fails_after < 0):
            raise errors.UnavailableError("etcd is slow", 503)
