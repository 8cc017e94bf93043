"""The only Kubernetes I/O of a reconcile: a thin client over aiohttp with kopf's logins.

Every error leaves as one of errors.py's, with the server's own words and the library's error chained.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import kopf

from dspy_operator import errors, names
from dspy_operator.store import Object

_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_JSON = "application/json"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_LOGIN_LIFETIME_S = 300.0  # projected service-account tokens rotate: read them again before they end
_PAGE = 500
_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_LEASES = "/apis/coordination.k8s.io/v1/namespaces"

# Called with verb and resource after every write that reached the server.
OnWrite = Callable[[str, str], None]


def login() -> kopf.ConnectionInfo:
    """Credentials of the pod's service account, or of KUBECONFIG outside a cluster."""
    settings, logger = kopf.OperatorSettings(), logging.getLogger(__name__)
    info = kopf.login_with_service_account(settings=settings, logger=logger)
    info = info or kopf.login_with_kubeconfig(settings=settings, logger=logger)
    if info is None:
        raise errors.SettingsError(
            "No Kubernetes credentials: run in a pod with a service account, or set KUBECONFIG."
        )
    return info


class Cluster:
    """One connection pool to one apiserver. Use as an async context manager."""

    def __init__(self, on_write: OnWrite, timeout_s: float = 30.0) -> None:
        self._on_write = on_write
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._login = login()
        self._login_at = time.monotonic()

    async def __aenter__(self) -> Cluster:
        connector = aiohttp.TCPConnector(ssl=self._login.as_ssl_context(), limit=64)
        headers = {"User-Agent": names.FIELD_MANAGER}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def create_pod(self, manifest: Object) -> Object:
        """Creates, never updates: a pod of that name which is not ours stays as it is (AlreadyExistsError)."""
        path = f"{_core(manifest['metadata']['namespace'])}/pods"
        return await self._write(
            "create", "pods", path, manifest, query={"fieldManager": names.FIELD_MANAGER}
        )

    async def get_pod(self, namespace: str, name: str) -> Object:
        """Reads a pod from the server: for what the watch has not told yet."""
        return await self._request("GET", f"{_core(namespace)}/pods/{quote(name)}")

    async def delete_pod(self, pod: Object) -> None:
        """Deletes this very pod, not a later one of the same name. Gone already is fine."""
        metadata = pod["metadata"]
        await self._delete(
            "pods", f"{_core(metadata['namespace'])}/pods/{quote(metadata['name'])}", metadata["uid"]
        )

    async def delete(self, plural: str, seen: Object) -> None:
        """Deletes this very object of ours; the garbage collector takes what it owns."""
        metadata = seen["metadata"]
        await self._delete(plural, _custom(plural, metadata["namespace"], metadata["name"]), metadata["uid"])

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
        return await self._write("patch", f"{plural}/status", path, body, query=query)

    async def keys_in_secret(self, namespace: str, name: str) -> frozenset[str]:
        """Names of a Secret's keys; the values are dropped at once."""
        secret = await self._request("GET", f"{_core(namespace)}/secrets/{quote(name)}")
        return frozenset(secret.get("data") or ())

    async def keys_in_config_map(self, namespace: str, name: str) -> frozenset[str]:
        """Names of a ConfigMap's keys, text and binary."""
        config = await self._request("GET", f"{_core(namespace)}/configmaps/{quote(name)}")
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
        query = {"limit": str(_PAGE), "labelSelector": selector}
        while True:
            page = await self._request("GET", f"{group}{scope}/{plural}", query=query, accept=_METADATA_ONLY)
            for item in page["items"]:
                yield item
            following = page["metadata"].get("continue")
            if not following:
                return
            query["continue"] = following

    async def served_kinds(self) -> frozenset[str]:
        """Plurals that the apiserver serves in our group and version; empty where the CRDs are absent."""
        try:
            found = await self._request("GET", f"/apis/{names.API_VERSION}")
        except errors.NotFoundError:
            return frozenset()
        return frozenset(resource["name"] for resource in found["resources"])

    async def get_lease(self, namespace: str, name: str) -> Object:
        """Reads a Lease."""
        return await self._request("GET", f"{_LEASES}/{quote(namespace)}/leases/{quote(name)}")

    async def create_lease(self, lease: Object) -> Object:
        """Creates a Lease; AlreadyExistsError where another replica was quicker."""
        path = f"{_LEASES}/{quote(lease['metadata']['namespace'])}/leases"
        return await self._write("create", "leases", path, lease)

    async def replace_lease(self, lease: Object) -> Object:
        """Replaces a Lease if its resourceVersion still holds; ConflictError otherwise."""
        metadata = lease["metadata"]
        path = f"{_LEASES}/{quote(metadata['namespace'])}/leases/{quote(metadata['name'])}"
        return await self._write("update", "leases", path, lease)

    async def _delete(self, resource: str, path: str, uid: str) -> None:
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self._write("delete", resource, path, body)
        except (errors.NotFoundError, errors.ConflictError):
            return  # it is gone, or another object bears its name: either way this one is deleted

    async def _write(
        self, verb: str, resource: str, path: str, body: Object, *, query: Mapping[str, str] | None = None
    ) -> Object:
        content_type = _APPLY if verb == "patch" else _JSON
        answer = await self._request(_METHODS[verb], path, body=body, query=query, content_type=content_type)
        self._on_write(verb, resource)
        return answer

    async def _request(  # noqa: PLR0913 - the parts of an HTTP request
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Object:
        if self._session is None:
            raise errors.OperatorError("Cluster is used outside its context")
        headers = {"Accept": accept, "Content-Type": content_type, **self._authorization()}
        data = None if body is None else json.dumps(body)
        url = self._login.server.rstrip("/") + path
        try:
            async with self._session.request(
                method, url, params=query, data=data, headers=headers
            ) as response:
                text = await response.text()
                if response.status >= 400:
                    raise _classify(method, response.status, text, response.headers)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.UnavailableError(f"{method} {path}: {error or type(error).__name__}") from error
        answer: Object = json.loads(text)
        return answer

    def _authorization(self) -> dict[str, str]:
        if time.monotonic() - self._login_at > _LOGIN_LIFETIME_S:
            self._login, self._login_at = login(), time.monotonic()
        return self._login.as_http_headers()


def _core(namespace: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}"


def _custom(plural: str, namespace: str, name: str) -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{quote(namespace)}/{plural}/{quote(name)}"


_CLASSES = {
    400: errors.InvalidError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.InvalidError,
}


def _classify(method: str, status: int, text: str, headers: Mapping[str, str]) -> errors.ClusterError:
    message, reason = _words(text)
    if status == 429:
        return errors.TooManyRequestsError(message, _seconds(headers.get("Retry-After")))
    if status >= 500:
        return errors.UnavailableError(message, status)
    if method == "POST" and reason == "AlreadyExists":
        return errors.AlreadyExistsError(message, status)
    return _CLASSES.get(status, errors.ClusterError)(message, status)


def _words(text: str) -> tuple[str, str]:
    try:
        status: Any = json.loads(text)
    except ValueError:
        return text[:256], ""
    if not isinstance(status, dict):
        return text[:256], ""
    return str(status.get("message") or text[:256]), str(status.get("reason") or "")


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
