"""The Kubernetes API for tests: create, read, delete, and wait for a change by watching instead of sleeping."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

Object = dict[str, Any]
Objects = list[Object]  # inside Kube, `list` is its method

CRDS = Path(__file__).parents[2] / "crds"
GROUP = "/apis/dspyagent.io/v1alpha1"
WAIT_S = 30.0
_GROUPS = {"leases": "/apis/coordination.k8s.io/v1", "rayjobs": "/apis/ray.io/v1"}


class Kube:
    """One namespace of one apiserver."""

    def __init__(self, http: httpx.Client, namespace: str) -> None:
        self.http = http
        self.namespace = namespace

    def create_namespace(self) -> None:
        self._checked(self.http.post("/api/v1/namespaces", json={"metadata": {"name": self.namespace}}))

    def delete_everything(self) -> None:
        """Empties the namespace: without a controller manager nothing else would."""
        for plural in ("agentsessions", "envtasks", "agentpools", "trainingjobs"):
            self._checked(self.http.delete(self.path(plural)))
        self._checked(self.http.request("DELETE", self.path("pods"), json={"gracePeriodSeconds": 0}))

    def path(self, plural: str, name: str = "") -> str:
        core = plural in ("pods", "secrets", "configmaps", "events", "resourcequotas")
        group = _GROUPS.get(plural, GROUP)
        return f"{'/api/v1' if core else group}/namespaces/{self.namespace}/{plural}" + (
            f"/{name}" if name else ""
        )

    def create(self, plural: str, manifest: Object) -> Object:
        return self._checked(self.http.post(self.path(plural), json=manifest))

    def session(self, name: str, **spec: Any) -> Object:
        manifest = {"apiVersion": "dspyagent.io/v1alpha1", "kind": "AgentSession"}
        return self.create("agentsessions", {**manifest, "metadata": {"name": name}, "spec": spec})

    def task(self, name: str, **spec: Any) -> Object:
        manifest = {"apiVersion": "dspyagent.io/v1alpha1", "kind": "EnvTask"}
        return self.create("envtasks", {**manifest, "metadata": {"name": name}, "spec": spec})

    def training(self, name: str, **spec: Any) -> Object:
        manifest = {"apiVersion": "dspyagent.io/v1alpha1", "kind": "TrainingJob"}
        return self.create("trainingjobs", {**manifest, "metadata": {"name": name}, "spec": spec})

    def pool(self, name: str, **spec: Any) -> Object:
        manifest = {"apiVersion": "dspyagent.io/v1alpha1", "kind": "AgentPool"}
        return self.create("agentpools", {**manifest, "metadata": {"name": name}, "spec": spec})

    def get(self, plural: str, name: str) -> Object | None:
        response = self.http.get(self.path(plural, name))
        return None if response.status_code == 404 else self._checked(response)

    def list(self, plural: str) -> list[Object]:
        items: list[Object] = self._checked(self.http.get(self.path(plural)))["items"]
        return items

    def patch(self, plural: str, name: str, change: Object, subresource: str = "") -> Object:
        path = self.path(plural, name) + (f"/{subresource}" if subresource else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._checked(self.http.patch(path, content=json.dumps(change), headers=headers))

    def delete(self, plural: str, name: str) -> None:
        body = {"gracePeriodSeconds": 0}
        self._checked(self.http.request("DELETE", self.path(plural, name), json=body))

    def until(self, plural: str, name: str, holds: Callable[[Object | None], bool]) -> Object | None:
        """The object as soon as `holds` of it (None: absent). Watches; fails after WAIT_S with what was seen last."""
        deadline = time.monotonic() + WAIT_S
        while True:
            answer = self.http.get(self.path(plural), params={"fieldSelector": f"metadata.name={name}"})
            if answer.status_code == 429 and time.monotonic() < deadline:
                time.sleep(1)  # Retry-After: a kind's storage begins with the first request for it
                continue
            listed = self._checked(answer)
            seen = listed["items"][0] if listed["items"] else None
            if holds(seen):
                return seen
            left = deadline - time.monotonic()
            assert left > 0, f"{plural}/{name} stayed {json.dumps(seen, indent=1)}"
            found = self._watch(plural, name, listed["metadata"]["resourceVersion"], holds, left)
            if found is not None:
                return found[0]

    def until_list(self, plural: str, selector: str, holds: Callable[[Objects], bool]) -> Objects:
        """The objects with those labels as soon as `holds` of them. Watches; fails after WAIT_S."""
        deadline = time.monotonic() + WAIT_S
        while True:
            params = {"labelSelector": selector}
            listed = self._checked(self.http.get(self.path(plural), params=params))
            items: Objects = listed["items"]
            if holds(items):
                return items
            left = deadline - time.monotonic()
            assert left > 0, f"{plural} {selector} stayed {json.dumps(items, indent=1)}"
            watch: dict[str, str] = {
                **params,
                "watch": "true",
                "resourceVersion": listed["metadata"]["resourceVersion"],
                "timeoutSeconds": str(max(1, int(left))),
            }
            with self.http.stream("GET", self.path(plural), params=watch, timeout=left + 5) as stream:
                next(stream.iter_lines(), None)  # whatever it is: the list is asked again

    def until_condition(self, plural: str, name: str, kind: str, reason: str | None = None) -> Object:
        """The object once that condition is True (with that reason)."""

        def holds(seen: Object | None) -> bool:
            found = condition(seen, kind)
            return found.get("status") == "True" and reason in (None, found["reason"])

        seen = self.until(plural, name, holds)
        assert seen is not None
        return seen

    def _watch(
        self, plural: str, name: str, version: str, holds: Callable[[Object | None], bool], left: float
    ) -> tuple[Object | None] | None:
        params: dict[str, str] = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, int(left))),
        }
        with self.http.stream("GET", self.path(plural), params=params, timeout=left + 5) as stream:
            for line in stream.iter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return None
                seen = None if event["type"] == "DELETED" else event["object"]
                if holds(seen):
                    return (seen,)
        return None

    @staticmethod
    def _checked(response: httpx.Response) -> Object:
        assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
        answer: Object = response.json()
        return answer


def condition(seen: Object | None, kind: str) -> Object:
    """The condition of that type, or an empty one."""
    for each in ((seen or {}).get("status") or {}).get("conditions", []):
        if each["type"] == kind:
            found: Object = each
            return found
    return {}
