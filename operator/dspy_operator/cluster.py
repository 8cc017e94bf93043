"""The only Kubernetes I/O of a reconcile: one method per thing that it asks of the apiserver.

Every error is one of errors.py's, with the server's own words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import quote

from dspy_operator import errors, names
from dspy_operator.apiserver import JSON, Apiserver
from dspy_operator.store import Object

_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PAGE = 500
_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_RAY = "/apis/ray.io/v1/namespaces"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces"

# Called with verb and resource after every write that reached the server.
OnWrite = Callable[[str, str], None]


class Cluster:
    """One connection pool to one apiserver. Use as an async context manager."""

    def __init__(self, on_write: OnWrite, timeout_s: float = 30.0) -> None:
        self._on_write = on_write
        self._apiserver = Apiserver(timeout_s)

    async def __aenter__(self) -> Cluster:
        await self._apiserver.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._apiserver.__aexit__()

    async def create_pod(self, manifest: Object) -> Object:
        """Creates, never updates: a pod of that name which is not ours stays as it is (AlreadyExistsError)."""
        path = f"{_core(manifest['metadata']['namespace'])}/pods"
        return await self._write(
            "create", "pods", path, manifest, query={"fieldManager": names.FIELD_MANAGER}
        )

    async def get_pod(self, namespace: str, name: str) -> Object:
        """Reads a pod from the server: for what the watch has not told yet."""
        return await self._apiserver.request("GET", f"{_core(namespace)}/pods/{quote(name)}")

    async def pods_of(self, plural: str, owner: Object) -> AsyncIterator[Object]:
        """All pods of an object, page by page, from the server: for before the watch has told all of them."""
        metadata = owner["metadata"]
        selector = f"{names.POD_LABELS[plural]}={names.label_value(metadata['name'])}"
        async for pod in self.pods(metadata["namespace"], selector):
            owners = pod["metadata"].get("ownerReferences") or ()
            if any(each["uid"] == metadata["uid"] for each in owners):
                yield pod

    async def patch_pod(self, seen: Object, change: Object) -> Object:
        """Merges a change into the pod if it is as it was seen; ConflictError where it is not."""
        metadata = seen["metadata"]
        unchanged = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {**change, "metadata": {**change["metadata"], **unchanged}}
        path = f"{_core(metadata['namespace'])}/pods/{quote(metadata['name'])}"
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._write("patch", "pods", path, body, query=query, content_type=_MERGE)

    async def pods(self, namespace: str | None, selector: str) -> AsyncIterator[Object]:
        """All pods with those labels, page by page."""
        async for pod in self._pages(f"{_core(namespace) if namespace else '/api/v1'}/pods", selector, JSON):
            yield pod

    async def delete_pod(self, pod: Object, *, if_unchanged: bool = False) -> None:
        """Deletes this very pod, not a later one of the same name. Gone already is fine.

        `if_unchanged`: not either where it is no longer as it was seen, as when somebody claimed it since.
        """
        metadata = pod["metadata"]
        path = f"{_core(metadata['namespace'])}/pods/{quote(metadata['name'])}"
        preconditions = {"uid": metadata["uid"]}
        if if_unchanged:
            preconditions["resourceVersion"] = metadata["resourceVersion"]
        await self._delete("pods", path, preconditions)

    async def delete(self, plural: str, seen: Object) -> None:
        """Deletes this very object of ours; the garbage collector takes what it owns."""
        metadata = seen["metadata"]
        path = _custom(plural, metadata["namespace"], metadata["name"])
        await self._delete(plural, path, {"uid": metadata["uid"]})

    async def apply_status(self, plural: str, seen: Object, status: Object) -> Object:
        """Server-side apply of the whole status. Answers the object as stored."""
        metadata = seen["metadata"]
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KINDS[plural],
            # The uid makes it a conflict, not a write, where another object bears the name by now.
            "metadata": {key: metadata[key] for key in ("namespace", "name", "uid")},
            "status": status,
        }
        path = _custom(plural, metadata["namespace"], metadata["name"]) + "/status"
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        return await self._write("patch", f"{plural}/status", path, body, query=query, content_type=_APPLY)

    async def secret(self, namespace: str, name: str) -> dict[str, str]:
        """A Secret's values in base64, by key: for whoever hands them on at once, and keeps none."""
        found = await self._apiserver.request("GET", f"{_core(namespace)}/secrets/{quote(name)}")
        return dict(found.get("data") or ())

    async def config_map(self, namespace: str, name: str) -> Object:
        """A ConfigMap, with `data` and `binaryData`."""
        return await self._apiserver.request("GET", f"{_core(namespace)}/configmaps/{quote(name)}")

    async def set_finalizers(self, plural: str, seen: Object, finalizers: list[str]) -> Object:
        """Writes the list if the object is as it was seen; ConflictError otherwise. Answers the object as stored."""
        metadata = seen["metadata"]
        body = {
            "metadata": {
                **{key: metadata[key] for key in ("uid", "resourceVersion")},
                "finalizers": finalizers,
            }
        }
        path = _custom(plural, metadata["namespace"], metadata["name"])
        return await self._write("patch", plural, path, body, content_type=_MERGE)

    async def create_ray_job(self, manifest: Object) -> Object:
        """Creates a RayJob; NotFoundError where KubeRay's CRD is absent."""
        path = f"{_RAY}/{quote(manifest['metadata']['namespace'])}/rayjobs"
        return await self._write("create", "rayjobs", path, manifest)

    async def get_ray_job(self, namespace: str, name: str) -> Object | None:
        """Reads a RayJob; None where there is none, or where KubeRay's CRD is absent."""
        try:
            return await self._apiserver.request("GET", f"{_RAY}/{quote(namespace)}/rayjobs/{quote(name)}")
        except errors.NotFoundError:
            return None

    async def delete_ray_job(self, seen: Object) -> None:
        """Deletes this very RayJob; KubeRay's finalizer keeps it until its cluster is gone."""
        metadata = seen["metadata"]
        path = f"{_RAY}/{quote(metadata['namespace'])}/rayjobs/{quote(metadata['name'])}"
        await self._delete("rayjobs", path, {"uid": metadata["uid"]})

    async def keys_in_secret(self, namespace: str, name: str) -> frozenset[str]:
        """Names of a Secret's keys; the values are dropped at once."""
        return frozenset(await self.secret(namespace, name))

    async def keys_in_config_map(self, namespace: str, name: str) -> frozenset[str]:
        """Names of a ConfigMap's keys, text and binary."""
        config = await self.config_map(namespace, name)
        return frozenset(config.get("data") or ()) | frozenset(config.get("binaryData") or ())

    async def create_event(self, event: Object) -> None:
        """Creates an Event; that it exists already is fine, since its name says what it says."""
        path = f"{_core(event['metadata']['namespace'])}/events"
        try:
            await self._write("create", "events", path, event)
        except errors.AlreadyExistsError:
            return

    async def metadata(self, plural: str, namespace: str | None, selector: str = "") -> AsyncIterator[Object]:
        """Metadata of all objects of a kind, page by page. `plural` may be "pods"."""
        scope = f"/namespaces/{quote(namespace)}" if namespace else ""
        group = "/api/v1" if plural == "pods" else f"/apis/{names.API_VERSION}"
        async for item in self._pages(f"{group}{scope}/{plural}", selector, _METADATA_ONLY):
            yield item

    async def served_kinds(self) -> frozenset[str]:
        """Plurals that the apiserver serves in our group and version; empty where the CRDs are absent."""
        try:
            found = await self._apiserver.request("GET", f"/apis/{names.API_VERSION}")
        except errors.NotFoundError:
            return frozenset()
        return frozenset(resource["name"] for resource in found["resources"])

    async def get_lease(self, namespace: str, name: str) -> Object:
        """Reads a Lease."""
        return await self._apiserver.request("GET", f"{_LEASES}/{quote(namespace)}/leases/{quote(name)}")

    async def create_lease(self, lease: Object) -> Object:
        """Creates a Lease; AlreadyExistsError where another replica was quicker."""
        path = f"{_LEASES}/{quote(lease['metadata']['namespace'])}/leases"
        return await self._write("create", "leases", path, lease)

    async def replace_lease(self, lease: Object) -> Object:
        """Replaces a Lease if its resourceVersion still holds; ConflictError otherwise."""
        metadata = lease["metadata"]
        path = f"{_LEASES}/{quote(metadata['namespace'])}/leases/{quote(metadata['name'])}"
        return await self._write("update", "leases", path, lease)

    async def _pages(self, path: str, selector: str, accept: str) -> AsyncIterator[Object]:
        query = {"limit": str(_PAGE), "labelSelector": selector}
        while True:
            page = await self._apiserver.request("GET", path, query=query, accept=accept)
            for item in page["items"] or ():  # Go writes an empty list as null
                yield item
            following = page["metadata"].get("continue")
            if not following:
                return
            query["continue"] = following

    async def _delete(self, resource: str, path: str, preconditions: Mapping[str, str]) -> None:
        body = {"preconditions": dict(preconditions), "propagationPolicy": "Background"}
        try:
            await self._write("delete", resource, path, body)
        except (errors.NotFoundError, errors.ConflictError):
            return  # it is gone, another object bears its name, or it is no longer what was to be deleted

    async def _write(  # noqa: PLR0913 - the parts of a write
        self,
        verb: str,
        resource: str,
        path: str,
        body: Object,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> Object:
        answer = await self._apiserver.request(
            _METHODS[verb], path, body=body, query=query, content_type=content_type
        )
        self._on_write(verb, resource)
        return answer


def _core(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}"


def _custom(plural: str, namespace: str, name: str) -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{quote(namespace)}/{plural}/{quote(name)}"
