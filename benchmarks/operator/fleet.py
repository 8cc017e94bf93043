"""What the scenarios of `scale.py` run on: a cluster with fake nodes, the operator as a process, a stand-in agent.

Real: etcd, apiserver, scheduler, controller manager, our operator and everything that it writes. Played: kubelets, by
KWOK; and the agents of warm pods, by a server that takes every bind request at once, since fake pods run nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import kopf
from aiohttp import web
from dspy_operator.apiserver import login
from prometheus_client.parser import text_string_to_metric_families

from tools.common.paths import REPOSITORY
from tools.common.process import run

CLUSTER = "bench-scale"
GROUP = "/apis/dspyagent.io/v1alpha1"
NAMESPACE = "bench"
FAKE_NODE = "dspyagent.io/fake-node"
AGENT_PORT = 9000
OPERATOR_PORT = 18081
WRITE_VERBS = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
# Leases and what else goes on without us.
OURS = frozenset({"pods", "events", "agentsessions", "agentpools", "envtasks", "secrets", "configmaps"})
LONGEST_S = 600

Object = dict[str, Any]
Seen = Callable[[Object], bool]


def tool(module: str, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return run(
        [sys.executable, "-m", module, *words], cwd=REPOSITORY, env=environment, timeout_seconds=LONGEST_S
    )


@asynccontextmanager
async def fleet(nodes: int) -> AsyncIterator[Fleet]:
    """A cluster of our own, removed at the end."""
    try:
        tool("tools.cluster", "up", "--name", CLUSTER)
        tool("tools.cluster", "fake-nodes", "--name", CLUSTER, "--pod-ip", "127.0.0.1", str(nodes))
        kubeconfig = tool("tools.cluster", "kubeconfig", "--name", CLUSTER).strip()
        os.environ["KUBECONFIG"] = kubeconfig
        kubectl(kubeconfig, "apply", "--server-side", "-f", str(REPOSITORY / "crds"))
        kubectl(kubeconfig, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        kubectl(kubeconfig, "create", "namespace", NAMESPACE)
        with tempfile.TemporaryDirectory() as folder:
            async with _api() as http, _stand_in_agent():
                process = await _operator(kubeconfig, Path(folder))
                made = Fleet(http, process)
                try:
                    await made.until_operating()
                    yield made
                finally:
                    process.send_signal(signal.SIGTERM)
                    await process.wait()
    finally:
        tool("tools.cluster", "down", "--name", CLUSTER)


def kubectl(kubeconfig: str, *words: str) -> str:
    return run(["kubectl", "--kubeconfig", kubeconfig, *words], timeout_seconds=120)


@asynccontextmanager
async def _api() -> AsyncIterator[aiohttp.ClientSession]:
    info: kopf.ConnectionInfo = login()
    connector = aiohttp.TCPConnector(ssl=info.as_ssl_context(), limit=64)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(
        info.server, connector=connector, headers=info.as_http_headers(), timeout=timeout
    ) as http:
        yield http


@asynccontextmanager
async def _stand_in_agent() -> AsyncIterator[None]:
    async def bind(_: web.Request) -> web.Response:
        return web.json_response({"state": "Ready"})

    app = web.Application()
    app.router.add_post("/v1/bind", bind)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", AGENT_PORT).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def _operator(kubeconfig: str, folder: Path) -> asyncio.subprocess.Process:
    token = folder / "token"
    token.write_text("benchmark")
    settings = {
        "NAMESPACE": NAMESPACE,
        "AGENT_IMAGE": "localhost/none/agent",
        "ENV_RUNNER_IMAGE": "localhost/none/env-runner",
        "RUNNER_IMAGE": "localhost/none/runner",
        "REDDB_URL": "redis://none:6380",
        "REDDB_HTTP_URL": "http://none:8082",
        "REDDB_TOKEN_FILE": str(token),
        "LISTEN": f"127.0.0.1:{OPERATOR_PORT}",
        "LOG_LEVEL": "WARNING",
        "IDENTITY": "bench",
    }
    environment = {
        **os.environ,
        "KUBECONFIG": kubeconfig,
        **{f"DSPY_OPERATOR_{name}": value for name, value in settings.items()},
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dspy_operator", env=environment, stdout=sys.stderr
    )


class Fleet:
    """The cluster as the scenarios see it."""

    def __init__(self, http: aiohttp.ClientSession, process: asyncio.subprocess.Process) -> None:
        self._http = http
        self._process = process

    async def until_operating(self) -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"http://127.0.0.1:{OPERATOR_PORT}/metrics") as answer:
                        if "dspy_operator_leader 1.0" in await answer.text():
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)

    async def request(self, method: str, path: str, body: Object | None = None) -> Object:
        async with self._http.request(method, path, json=body) as response:
            if response.status >= 400:
                sys.exit(f"{method} {path}: {await response.text()}")
            answer: Object = await response.json()
            return answer

    async def create(self, plural: str, kind: str, name: str, spec: Object) -> None:
        manifest = {"apiVersion": "dspyagent.io/v1alpha1", "kind": kind, "metadata": {"name": name}}
        await self.request("POST", path_of(plural), {**manifest, "spec": spec})

    async def when(self, plural: str, names: set[str], holds: Seen, limit_s: float) -> dict[str, float]:
        """When, by this machine's clock, a watch first showed each of the objects so. Those that it did not lack."""
        listed = await self.request("GET", f"{path_of(plural)}?limit=1")
        seen: dict[str, float] = {}
        version = listed["metadata"]["resourceVersion"]
        query = {"watch": "true", "resourceVersion": version}
        try:
            async with asyncio.timeout(limit_s), self._http.get(path_of(plural), params=query) as stream:
                async for line in _lines(stream):
                    found = json.loads(line)["object"]
                    name = found["metadata"]["name"]
                    if name in names and name not in seen and holds(found):
                        seen[name] = time.monotonic()
                        if len(seen) == len(names):
                            break
        except TimeoutError:
            pass
        return seen

    async def until(self, path: str, holds: Seen, limit_s: float) -> Object:
        """Asks for an object until it is so."""
        async with asyncio.timeout(limit_s):
            while True:
                found = await self.request("GET", path)
                if holds(found):
                    return found
                await asyncio.sleep(0.25)

    async def clear(self, *plurals: str) -> None:
        """Deletes all objects of these kinds, and waits until none and no pod is left."""
        for plural in plurals:
            await self.request("DELETE", path_of(plural))
        for path in (*map(path_of, plurals), f"/api/v1/namespaces/{NAMESPACE}/pods"):
            await self.until(f"{path}?limit=1", lambda found: not found["items"], 300)

    async def writes(self) -> Counter[str]:
        """Accepted writes that the apiserver counted since it started, by verb and resource."""
        async with self._http.get("/metrics") as response:
            text = await response.text()
        counts: Counter[str] = Counter()
        for sample in samples(text, "apiserver_request_total"):
            labels = sample.labels
            if (
                labels["code"].startswith("2")
                and labels["verb"] in WRITE_VERBS
                and labels["resource"] in OURS
            ):
                target = "/".join(part for part in (labels["resource"], labels["subresource"]) if part)
                counts[f"{labels['verb']} {target}"] += int(sample.value)
        return counts

    def operator_cpu_s(self) -> float:
        """CPU seconds that the operator has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def operator_rss_mib(self) -> float:
        """Resident memory of the operator."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def path_of(plural: str) -> str:
    return f"{GROUP}/namespaces/{NAMESPACE}/{plural}"


def is_true(seen: Object, kind: str) -> bool:
    """Whether the object has that condition with status True."""
    found = (seen.get("status") or {}).get("conditions") or ()
    return any(each["type"] == kind and each["status"] == "True" for each in found)


def samples(text: str, name: str) -> list[Any]:
    families = text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples if sample.name == name]


async def _lines(stream: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: the library's own reader has a limit."""
    rest = b""
    async for chunk in stream.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
