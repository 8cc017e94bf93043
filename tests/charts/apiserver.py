"""A Kubernetes apiserver with nothing behind it but etcd: enough to store, validate, default and admit objects.

Nothing runs: no scheduler, no controller, no node. It listens on loopback only, and lives in one folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

ADMIN_TOKEN = "tests-only-admin"
START_SECONDS = 45
STOP_SECONDS = 30


def find_tool(name: str) -> str:
    """The path of a program: the project's tool cache first, then PATH."""
    cache = Path(os.environ.get("DSPY_CACHE") or Path.home() / ".cache" / "dspy-agent")
    found = shutil.which(name, path=str(cache / "bin")) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: run `make setup`")
    return found


@dataclass(frozen=True)
class Apiserver:
    """A running apiserver; `http` and `kubectl` act as an administrator."""

    http: httpx.Client
    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl to its end, whatever its status."""
        return subprocess.run(
            [find_tool("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@contextlib.contextmanager
def running_apiserver(folder: Path) -> Iterator[Apiserver]:
    """Start etcd and the apiserver with their data in `folder`; stop both at the end."""
    etcd_port, peer_port, api_port = free_ports(3)
    with contextlib.ExitStack() as stack:
        stack.enter_context(process(etcd_command(folder, etcd_port, peer_port), folder / "etcd.log"))
        server = stack.enter_context(
            process(apiserver_command(folder, etcd_port, api_port), folder / "apiserver.log")
        )
        wait_until_served(server, folder / "apiserver.log", api_port)
        url, authority = f"https://127.0.0.1:{api_port}", folder / "pki" / "apiserver.crt"
        http = stack.enter_context(admin_client(url, authority))
        wait_until_ready(server, http)
        yield Apiserver(http, write_kubeconfig(folder / "kubeconfig", url, authority))


def etcd_command(folder: Path, port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        find_tool("etcd"),
        f"--data-dir={folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def apiserver_command(folder: Path, etcd_port: int, port: int) -> list[str]:
    key = folder / "service-accounts.key"
    subprocess.run(
        ["openssl", "genrsa", "-out", str(key), "2048"],
        check=True,
        capture_output=True,
        timeout=START_SECONDS,
    )
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n')
    return [
        find_tool("kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'pki'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
        f"--token-auth-file={tokens}",
        "--service-account-issuer=https://tests.invalid",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        # Without a controller manager, no namespace gets its default ServiceAccount.
        "--disable-admission-plugins=ServiceAccount",
    ]


@contextlib.contextmanager
def process(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that does not outlive the block. Its output goes to `log`."""
    with log.open("wb") as output:
        child = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until_served(server: subprocess.Popen[bytes], log: Path, port: int) -> None:
    """Wait until the port takes connections: by then the serving certificate is written."""

    def connects() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    until(connects, server, f"kube-apiserver does not listen; see {log}")


def wait_until_ready(server: subprocess.Popen[bytes], http: httpx.Client) -> None:
    until(lambda: http.get("/readyz").is_success, server, "kube-apiserver does not become ready")


def until(condition: Callable[[], bool], server: subprocess.Popen[bytes], complaint: str) -> None:
    """Ask again until `condition()`, while `server` lives; its end is noticed at once."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = server.wait(0.1)
            raise RuntimeError(f"kube-apiserver ended with status {status}: {complaint}")
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)


def admin_client(url: str, authority: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(authority))
    context.check_hostname = False
    return httpx.Client(
        base_url=url,
        verify=context,
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        timeout=30,
        trust_env=False,
    )


def write_kubeconfig(path: Path, url: str, authority: Path) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": "admin", "user": {"token": ADMIN_TOKEN}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path
