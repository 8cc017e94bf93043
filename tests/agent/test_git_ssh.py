"""Git over SSH: a real ssh and a real git against a server on loopback, which knows one key."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from dspy_agent.errors import WorkspaceUnreachable
from dspy_agent.sources.git import GitSource, fetch_git

from tests.agent.conftest import write_files
from tests.agent.test_sources import git, names


@dataclass(frozen=True)
class SshHost:
    url: str
    user_key: str
    known_hosts: str


class _Serving(threading.Thread):
    """An SSH server in a thread of its own; it starts what it is asked to start, which is git alone."""

    def __init__(self, host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey) -> None:
        super().__init__()
        self._keys = host_key, asyncssh.import_authorized_keys(user_key.export_public_key().decode())
        self._port: Future[int] = Future()
        self._stopping = asyncio.Event()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        host_key, authorized = self._keys
        self._loop = asyncio.get_running_loop()
        async with asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=authorized,
            process_factory=_git,
            encoding=None,
        ) as server:
            self._port.set_result(server.get_port())
            await self._stopping.wait()

    def port(self) -> int:
        return self._port.result(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self.join(10)


async def _git(process: asyncssh.SSHServerProcess[bytes]) -> None:
    command = process.command or ""
    assert command.startswith("git-upload-pack "), command
    repository = command.removeprefix("git-upload-pack ").strip("'")
    child = await asyncio.create_subprocess_exec(
        "git", "upload-pack", repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin
    assert child.stdout
    upward = asyncio.create_task(_copy(process.stdin, child.stdin))
    await _copy(child.stdout, process.stdout)
    process.exit(await child.wait())
    await upward


async def _copy(source: Any, target: Any) -> None:
    while chunk := await source.read(65536):
        target.write(chunk)
        await target.drain()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHost]:
    work = tmp_path_factory.mktemp("ssh") / "work"
    write_files(work, {"a.py": "one\n"})
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        git(work, *words)
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    serving = _Serving(host_key, user_key)
    serving.start()
    yield SshHost(
        f"ssh://git@127.0.0.1:{serving.port()}{work}",
        user_key.export_private_key().decode(),
        f"[127.0.0.1]:{serving.port()} {host_key.export_public_key().decode()}",
    )
    serving.stop()


def secret(folder: Path, user_key: str, known_hosts: str) -> Path:
    """The files of a Secret of type kubernetes.io/ssh-auth."""
    write_files(folder, {"ssh-privatekey": user_key, "known_hosts": known_hosts})
    return folder


def test_a_repository_is_fetched_with_the_secret_s_key(host: SshHost, tmp_path: Path) -> None:
    folder = secret(tmp_path, host.user_key, host.known_hosts)
    assert names(fetch_git(GitSource(host.url, None, folder))) == ["a.py"]


def test_a_host_that_is_not_the_known_one_is_refused(host: SshHost, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    name = host.known_hosts.split()[0]
    folder = secret(tmp_path, host.user_key, f"{name} {other}")
    with pytest.raises(WorkspaceUnreachable, match="Host key verification failed"):
        fetch_git(GitSource(host.url, None, folder))


def test_a_key_that_the_host_does_not_know_is_told(host: SshHost, tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    folder = secret(tmp_path, other, host.known_hosts)
    with pytest.raises(WorkspaceUnreachable, match="Permission denied") as caught:
        fetch_git(GitSource(host.url, None, folder))
    assert "PRIVATE KEY" not in str(caught.value)
