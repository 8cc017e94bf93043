"""Servers for the RESP conformance suite: RedDB and the real Redis, each on a free loopback port."""

import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

ROOT = Path(__file__).parents[3]
TOKEN = secrets.token_hex(16)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reddb_binary() -> str:
    return os.environ.get("REDDB_BIN", str(ROOT / "dist/bin/reddb"))


def reddb_command(directory: Path, port: int) -> list[str]:
    token_file = directory / "token"
    token_file.write_text(TOKEN)
    files = ["--data-dir", str(directory / "data"), "--token-file", str(token_file)]
    listen = ["--resp-listen", f"127.0.0.1:{port}", "--http-listen", f"127.0.0.1:{free_port()}"]
    return [reddb_binary(), "serve", *files, *listen]


def redis_command(directory: Path, port: int) -> list[str]:
    place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
    return ["redis-server", *place, "--save", "", "--requirepass", TOKEN]


COMMANDS = {"reddb": reddb_command, "redis": redis_command}


@pytest.fixture(scope="session", params=list(COMMANDS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int]]:
    """Name and port of a running server."""
    directory = tmp_path_factory.mktemp(request.param)
    port = free_port()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(COMMANDS[request.param](directory, port), stdout=log, stderr=log)
    try:
        # The client retries while the server starts: up to 10 s.
        retry = Retry(ConstantBackoff(0.05), 200)
        with redis.Redis(
            port=port, password=TOKEN, retry=retry, retry_on_error=[redis.ConnectionError]
        ) as probe:
            assert probe.ping()
        yield request.param, port
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(request: pytest.FixtureRequest, server: tuple[str, int]) -> Iterator[redis.Redis]:
    """A client on an empty server, in both versions of the protocol."""
    with redis.Redis(
        port=server[1], password=TOKEN, protocol=request.param, decode_responses=True
    ) as connected:
        if keys := connected.keys("*"):
            connected.delete(*keys)
        yield connected


@pytest.fixture
def other(server: tuple[str, int]) -> Iterator[redis.Redis]:
    """A second client of the same server."""
    with redis.Redis(port=server[1], password=TOKEN, decode_responses=True) as connected:
        yield connected


@pytest.fixture
def connect(server: tuple[str, int]) -> Callable[[], socket.socket]:
    """Makes authenticated connections without a library in between."""

    def connect() -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", server[1]), timeout=20)
        connected.sendall(f"AUTH {TOKEN}\r\n".encode())
        assert connected.recv(16) == b"+OK\r\n"
        return connected

    return connect
