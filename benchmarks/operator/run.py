"""Cold sessions on a real cluster: create → Ready, apiserver writes per session, the operator's memory.

    KUBECONFIG=... python benchmarks/operator/run.py [--sessions 10] [--idle-seconds 60]

Needs an administrator's KUBECONFIG to a cluster with the chart installed and its images present. Sessions run one after
the other, in a namespace that is deleted at the end; each is timed on this machine's clock, from before the POST until
the watch shows Ready. Writes are counted twice: by the operator's own counter, and by the apiserver's, which also sees
the scheduler, the kubelet and this script. Then nothing happens for a while, with all sessions still there, and the
operator's writes in that time are counted, its Lease aside. What cannot be read is reported as unknown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections import Counter
from typing import Any

import aiohttp
from dspy_operator.apiserver import login
from prometheus_client.parser import text_string_to_metric_families

GROUP = "/apis/dspyagent.io/v1alpha1"
READY_TIMEOUT_S = 120.0
WRITE_VERBS = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
RESOURCES = frozenset({"pods", "events", "agentsessions", "secrets", "configmaps"})
# The check takes a while and fails: a session that ends at once might be Finished before its Ready is seen.
SPEC: dict[str, Any] = {
    "workspace": {"empty": {}},
    "task": {"check": {"command": ["sh", "-c", "sleep 5; exit 1"]}},
    "policy": {"search": {}},
    "budget": {"seconds": 60},
}


class Api:
    """The cluster as this benchmark sees it."""

    def __init__(self, http: aiohttp.ClientSession, namespace: str) -> None:
        self.http = http
        self.namespace = namespace
        self.sessions = f"{GROUP}/namespaces/{namespace}/agentsessions"

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        async with self.http.request(method, path, json=body) as response:
            if response.status >= 400:
                sys.exit(f"{method} {path}: {await response.text()}")
            return await response.json()

    async def text(self, path: str) -> str | None:
        async with self.http.get(path) as response:
            return await response.text() if response.status == 200 else None

    async def ready_after_s(self, name: str) -> float:
        """Creates a session and answers the seconds until its Ready condition is True."""
        manifest = {"apiVersion": "dspyagent.io/v1alpha1", "kind": "AgentSession"}
        listed = await self.json("GET", self.sessions)
        started = time.monotonic()
        await self.json("POST", self.sessions, {**manifest, "metadata": {"name": name}, "spec": SPEC})
        version = listed["metadata"]["resourceVersion"]
        query = {"watch": "true", "fieldSelector": f"metadata.name={name}", "resourceVersion": version}
        async with asyncio.timeout(READY_TIMEOUT_S), self.http.get(self.sessions, params=query) as stream:
            async for line in stream.content:
                if is_true(json.loads(line)["object"], "Ready"):
                    return time.monotonic() - started
        sys.exit(f"the watch of session {name} ended early")

    async def finished(self, name: str) -> None:
        """Waits until the session has ended, so that all its writes are counted."""
        query = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
        async with asyncio.timeout(READY_TIMEOUT_S), self.http.get(self.sessions, params=query) as stream:
            async for line in stream.content:
                if is_true(json.loads(line)["object"], "Finished"):
                    return


def is_true(session: Any, kind: str) -> bool:
    """Whether the object has that condition with status True."""
    found = (session.get("status") or {}).get("conditions") or ()
    return any(each["type"] == kind and each["status"] == "True" for each in found)


def samples(text: str, name: str) -> list[Any]:
    """The samples of one metric."""
    families = text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples if sample.name == name]


async def apiserver_writes(api: Api) -> Counter[str]:
    """Accepted writes that the apiserver counted, by verb and resource."""
    counts: Counter[str] = Counter()
    for sample in samples(await api.text("/metrics") or "", "apiserver_request_total"):
        labels = sample.labels
        accepted = labels["code"].startswith("2") and labels["verb"] in WRITE_VERBS
        if accepted and labels["resource"] in RESOURCES:
            target = "/".join(part for part in (labels["resource"], labels["subresource"]) if part)
            counts[f"{labels['verb']} {target}"] += int(sample.value)
    return counts


async def operator_metrics(api: Api, namespace: str) -> str | None:
    """The leading operator's /metrics, through the apiserver's proxy."""
    query = "labelSelector=app.kubernetes.io/component%3Doperator"
    pods = await api.json("GET", f"/api/v1/namespaces/{namespace}/pods?{query}")
    for pod in pods["items"]:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}:8081/proxy/metrics"
        text = await api.text(path)
        if text is not None and any(sample.value for sample in samples(text, "dspy_operator_leader")):
            return text
    return None


def operator_writes(text: str | None) -> Counter[str]:
    """The operator's own count, Lease renewals left out."""
    counts: Counter[str] = Counter()
    for sample in samples(text or "", "dspy_operator_apiserver_writes_total"):
        if sample.labels["resource"] != "leases":
            counts[f"{sample.labels['verb']} {sample.labels['resource']}"] += int(sample.value)
    return counts


async def idle_writes(api: Api, operator_namespace: str, seconds: float) -> int | str:
    """What the operator writes while nothing changes; its metrics must be readable before and after."""
    before = await operator_metrics(api, operator_namespace)
    await asyncio.sleep(seconds)
    after = await operator_metrics(api, operator_namespace)
    if before is None or after is None:
        return "unknown"
    return (operator_writes(after) - operator_writes(before)).total()


async def measure(api: Api, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs the sessions and reads the counters before and after."""
    count, operator_namespace = arguments.sessions, arguments.operator_namespace
    await api.json("POST", "/api/v1/namespaces", {"metadata": {"name": api.namespace}})
    try:
        warmed_s = await api.ready_after_s("warm-up")
        await api.finished("warm-up")
        before = await apiserver_writes(api), operator_writes(await operator_metrics(api, operator_namespace))
        seconds = []
        for number in range(count):
            seconds.append(await api.ready_after_s(f"cold-{number}"))
            await api.finished(f"cold-{number}")
        after = await apiserver_writes(api)
        text = await operator_metrics(api, operator_namespace)
        rss = samples(text or "", "process_resident_memory_bytes")
        return {
            "sessions": count,
            "load_average": os.getloadavg(),
            "first_create_to_ready_s": round(warmed_s, 3),
            "create_to_ready_s": spread(seconds),
            "operator_writes_per_session": per_session(operator_writes(text) - before[1], count)
            if text
            else "unknown",
            "all_writes_per_session": per_session(after - before[0], count),
            "operator_rss_mib": round(rss[0].value / 2**20, 1) if rss else "unknown",
            "operator_writes_while_idle": await idle_writes(api, operator_namespace, arguments.idle_seconds),
        }
    finally:
        await api.json("DELETE", f"/api/v1/namespaces/{api.namespace}")


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and range."""
    return {
        "median": round(statistics.median(seconds), 3),
        "min": round(min(seconds), 3),
        "max": round(max(seconds), 3),
    }


def per_session(counts: Counter[str], sessions: int) -> dict[str, float]:
    """Counts divided by sessions, largest first."""
    return {name: round(number / sessions, 2) for name, number in counts.most_common()}


async def main(arguments: argparse.Namespace) -> None:
    info = login()
    connector = aiohttp.TCPConnector(ssl=info.as_ssl_context())
    headers = info.as_http_headers()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(
        info.server, connector=connector, headers=headers, timeout=timeout
    ) as http:
        namespace = f"bench-operator-{os.getpid()}"
        found = await measure(Api(http, namespace), arguments)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measures cold sessions on the cluster of KUBECONFIG.")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--idle-seconds", type=float, default=60)
    parser.add_argument("--operator-namespace", default="dspy-agent")
    asyncio.run(main(parser.parse_args()))
