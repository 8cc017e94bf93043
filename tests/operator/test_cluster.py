"""The client against a server that answers as an apiserver in trouble does: every answer becomes one of our errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from dspy_operator import errors
from dspy_operator.cluster import Cluster

from tests.operator import builders

Answer = Callable[[web.Request], web.Response]


class FakeApiserver:
    """Gives one answer to everything, and keeps what was asked."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: web.json_response({})
        self.requests: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.Response:
        await request.read()
        self.requests.append(request)
        return self.answer(request)


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApiserver]:
    """On a free loopback port, named by KUBECONFIG."""
    fake, app = FakeApiserver(), web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = {
        "current-context": "t",
        "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
        "clusters": [{"name": "t", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
        "users": [{"name": "t", "user": {"token": "secret"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield fake
    await runner.cleanup()


def status(code: int, reason: str = "", **headers: str) -> Answer:
    body = {"kind": "Status", "code": code, "reason": reason, "message": f"server says {code}"}
    return lambda _: web.json_response(body, status=code, headers=headers)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(400), errors.InvalidError),
        (status(403, "Forbidden"), errors.ForbiddenError),
        (status(404), errors.NotFoundError),
        (status(409, "AlreadyExists"), errors.AlreadyExistsError),
        (status(409, "Conflict"), errors.ConflictError),
        (status(422), errors.InvalidError),
        (status(429), errors.TooManyRequestsError),
        (status(418), errors.ClusterError),
        (status(500), errors.UnavailableError),
        (lambda _: web.Response(status=503, text="<html>proxy</html>"), errors.UnavailableError),
    ],
)
async def test_refusals(server: FakeApiserver, answer: Answer, error: type[errors.ClusterError]) -> None:
    server.answer = answer
    writes: list[tuple[str, str]] = []
    async with Cluster(lambda verb, resource: writes.append((verb, resource))) as cluster:
        with pytest.raises(error) as raised:
            await cluster.create_pod(builders.pod())
    assert type(raised.value) is error
    assert writes == []


async def test_busy_server_says_how_long(server: FakeApiserver) -> None:
    server.answer = status(429, **{"Retry-After": "7"})
    async with Cluster(lambda _verb, _resource: None) as cluster:
        with pytest.raises(errors.TooManyRequestsError) as raised:
            await cluster.create_pod(builders.pod())
    assert raised.value.retry_after_s == 7


async def test_no_server_and_no_answer(
    server: FakeApiserver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (tmp_path / "kubeconfig").read_text()
    server_url = yaml.safe_load(text)["clusters"][0]["cluster"]["server"]
    (tmp_path / "kubeconfig").write_text(text.replace(server_url, "http://127.0.0.1:1"))
    async with Cluster(lambda _verb, _resource: None) as cluster:
        with pytest.raises(errors.UnavailableError) as raised:
            await cluster.get_pod("team", "fix")
    assert raised.value.__cause__ is not None


async def test_status_is_applied_to_this_very_object(server: FakeApiserver) -> None:
    async with Cluster(lambda _verb, _resource: None) as cluster:
        await cluster.apply_status("agentsessions", builders.owner("fix"), {"phase": "Running"})
    request = server.requests[0]
    assert request.path == "/apis/dspyagent.io/v1alpha1/namespaces/team/agentsessions/fix/status"
    assert request.query["fieldManager"] == "dspy-operator"
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert request.headers["Authorization"] == "Bearer secret"
    assert (await request.json())["metadata"]["uid"] == builders.UID


async def test_deleting_what_is_gone_is_fine(server: FakeApiserver) -> None:
    async with Cluster(lambda _verb, _resource: None) as cluster:
        for answer in (status(404), status(409, "Conflict")):
            server.answer = answer
            await cluster.delete_pod(builders.pod())


async def test_lists_are_paged(server: FakeApiserver) -> None:
    def page(request: web.Request) -> web.Response:
        last = "continue" in request.query
        metadata = {} if last else {"continue": "more"}
        return web.json_response(
            {"metadata": metadata, "items": [{"metadata": {"uid": "b" if last else "a"}}]}
        )

    server.answer = page
    async with Cluster(lambda _verb, _resource: None) as cluster:
        found = [item["metadata"]["uid"] async for item in cluster.metadata("pods", None, "a=b")]
    assert found == ["a", "b"]
    assert {request.query["limit"] for request in server.requests} == {"500"}
