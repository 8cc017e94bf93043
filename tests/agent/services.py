"""The real RedDB and the real env runner as processes of a test."""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

TOKEN = "reddb-test-token"
START_TIMEOUT_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Service:
    """A process with a /readyz; `kill` is kill -9."""

    argv: list[str]
    url: str
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=1, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@dataclass
class RedDb(Service):
    """`resp_url` and `url` for clients; all with the master token `TOKEN`."""

    resp_url: str = ""


def reddb(binary: Path, folder: Path) -> RedDb:
    http, resp = free_port(), free_port()
    (folder / "token").write_text(TOKEN)
    argv = [str(binary), "serve", "--data-dir", str(folder / "data"), "--token-file", str(folder / "token")]
    listen = ["--http-listen", f"127.0.0.1:{http}", "--resp-listen", f"127.0.0.1:{resp}"]
    url = f"http://127.0.0.1:{http}"
    return RedDb([*argv, *listen], url, folder / "reddb.log", resp_url=f"redis://127.0.0.1:{resp}")


def runner(binary: Path, folder: Path, token: str, *flags: str) -> Service:
    port = free_port()
    for name in ("workspace", "forks", "secret"):
        (folder / name).mkdir(parents=True)
    (folder / "secret" / "token").write_text(token)
    argv = [
        str(binary),
        "serve",
        "--listen",
        f"127.0.0.1:{port}",
        "--token-file",
        str(folder / "secret/token"),
    ]
    places = ["--workspace", str(folder / "workspace"), "--forks-dir", str(folder / "forks")]
    return Service([*argv, *places, *flags], f"http://127.0.0.1:{port}", folder / "runner.log")


def orchestrator(binary: Path, folder: Path, store: RedDb, runners: Service, token: str) -> Service:
    """With the runners' token where `runner` put it, and the store's where `reddb` did."""
    port = free_port()
    folder.mkdir()
    (folder / "token").write_text(token)
    argv = [str(binary), "serve", "--listen", f"127.0.0.1:{port}", "--token-file", str(folder / "token")]
    stores = ["--reddb", store.resp_url, "--reddb-token-file", str(store.log.parent / "token")]
    runner_token = runners.log.parent / "secret/token"
    places = ["--runners", runners.url, "--runner-token-file", str(runner_token)]
    return Service([*argv, *stores, *places], f"http://127.0.0.1:{port}", folder / "orchestrator.log")
