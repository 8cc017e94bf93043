"""The env runner over HTTP, on TCP or a unix socket. Contract: contracts/http/env-runner.yaml."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from io import SEEK_END
from typing import Any, BinaryIO
from urllib.parse import quote

from dspy_agent.clients.http import httpx, tls, trace_headers
from dspy_agent.core.runner import MAIN, Command, Diff, ExecResult, FileEntry, Match
from dspy_agent.errors import CannotStart, RunnerLost, RunnerRequestError

# The runner enforces a command's timeout itself; this is how much later its answer may arrive.
GRACE_SECONDS = 30.0
READY_POLL_SECONDS = 0.02
BUSY_RETRIES = 200
ARCHIVE_TIMEOUT_SECONDS = 300.0
CHUNK_BYTES = 1024 * 1024
# A restart between two requests goes unnoticed, but what the runner held for us is gone: its variables, our forks.
LOST = frozenset({"NotBound", "Stopping", "WorkspaceNotFound"})


class RunnerClient:
    """Implements `core.runner.Runner`; may be used from several threads."""

    def __init__(
        self, url: str, token: str, *, network: bool = False, variables: Mapping[str, str] | None = None
    ) -> None:
        """`url` is http://host:port or unix:/path. With `network`, commands ask for it; the runner may refuse.

        `variables` are for a runner that was started with --bindable: it is told them, and the network, whenever it
        is waited for, as it forgets them with its process.
        """
        self._network = network
        self._variables = variables
        path = url.removeprefix("unix:") if url.startswith("unix:") else None
        # No environment proxies: the runner is always beside us.
        limits = httpx.Limits(max_connections=128, max_keepalive_connections=128)
        self._http = httpx.Client(
            base_url="http://runner" if path else url,
            transport=httpx.HTTPTransport(uds=path, limits=limits, verify=tls()),
            headers={"Authorization": f"Bearer {token}", **trace_headers()},
            timeout=httpx.Timeout(GRACE_SECONDS),
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def answers(self) -> bool:
        """Is the runner ready?"""
        try:
            return self._http.get("/readyz", timeout=1.0).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self, timeout_seconds: float) -> None:
        """Until the runner answers /readyz, and knows its variables. Raises RunnerLost when it does not in time."""
        self._wait_until_it_answers(timeout_seconds)
        if self._variables is not None:
            variables = [{"name": name, "value": value} for name, value in self._variables.items()]
            body = {"variables": variables, "network": "allow" if self._network else "none"}
            self._send("PUT", "/v1/environment", json=body)

    def _wait_until_it_answers(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                if self._http.get("/readyz", timeout=1.0).status_code == 200:
                    return
                problem = "it is not ready"
            except httpx.TransportError as error:
                problem = str(error)
            if time.monotonic() > deadline:
                raise RunnerLost(f"The env runner did not become ready in {timeout_seconds:g} s: {problem}.")
            time.sleep(READY_POLL_SECONDS)

    def execute(self, command: Command, workspace: str = MAIN) -> ExecResult:
        body = {
            "argv": list(command.argv),
            "env": dict(command.env),
            "timeout_ms": int(command.timeout_seconds * 1000),
            "output_limit_bytes": command.output_limit_bytes,
            "workspace": workspace,
            "network": self._network,
        }
        if command.cwd is not None:
            body["cwd"] = command.cwd
        reply = self._json("POST", "/v1/exec", json=body, timeout=command.timeout_seconds + GRACE_SECONDS)
        return ExecResult(
            exit_code=reply["exit_code"],
            signal=reply["signal"],
            reason=reply["reason"],
            stdout=reply["stdout"],
            stderr=reply["stderr"],
            stdout_bytes=reply["stdout_bytes"],
            stderr_bytes=reply["stderr_bytes"],
            seconds=reply["usage"]["wall_ms"] / 1000,
            isolation=tuple(reply["isolation"]),
        )

    def put_archive(self, archive: BinaryIO, workspace: str = MAIN) -> None:
        size = archive.seek(0, SEEK_END)
        archive.seek(0)
        self._send(
            "PUT",
            "/v1/archive",
            params={"workspace": workspace},
            content=iter(lambda: archive.read(CHUNK_BYTES), b""),
            headers={"Content-Type": "application/x-tar", "Content-Length": str(size)},
            timeout=ARCHIVE_TIMEOUT_SECONDS,
        )

    def read_file(self, path: str, workspace: str = MAIN) -> bytes:
        return self._send("GET", f"/v1/files/{quote(path)}", params={"workspace": workspace}).content

    def write_file(self, path: str, content: bytes, workspace: str = MAIN) -> None:
        self._send("PUT", f"/v1/files/{quote(path)}", params={"workspace": workspace}, content=content)

    def delete_file(self, path: str, workspace: str = MAIN) -> None:
        self._send("DELETE", f"/v1/files/{quote(path)}", params={"workspace": workspace})

    def list_files(self, glob: str, limit: int, workspace: str = MAIN) -> tuple[Sequence[FileEntry], bool]:
        params: dict[str, str | int] = {"workspace": workspace, "glob": glob, "limit": limit}
        reply = self._json("GET", "/v1/files", params=params)
        return [FileEntry(file["path"], file["bytes"]) for file in reply["files"]], reply["truncated"]

    def search(
        self, pattern: str, glob: str, limit: int, workspace: str = MAIN
    ) -> tuple[Sequence[Match], bool]:
        params: dict[str, str | int] = {
            "workspace": workspace,
            "pattern": pattern,
            "glob": glob,
            "limit": limit,
        }
        reply = self._json("GET", "/v1/search", params=params)
        return [Match(item["path"], item["line"], item["text"]) for item in reply["matches"]], reply[
            "truncated"
        ]

    def fork(self, origin: str = MAIN) -> str:
        return str(self._json("POST", "/v1/forks", json={"from": origin})["id"])

    def reset_fork(self, fork: str) -> None:
        self._send("POST", f"/v1/forks/{quote(fork, safe='')}/reset")

    def delete_fork(self, fork: str) -> None:
        self._send("DELETE", f"/v1/forks/{quote(fork, safe='')}")

    def diff(self, origin: str, changed: str = MAIN) -> Diff:
        reply = self._json("GET", "/v1/diff", params={"from": origin, "to": changed})
        return Diff(reply["patch"], tuple(reply["files"]))

    def max_concurrent(self) -> int:
        return int(self._json("GET", "/v1/info")["max_concurrent"])

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        reply: dict[str, Any] = self._send(method, path, **options).json()
        return reply

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request that succeeded. 429 says that the request did not begin: it is sent again after a pause."""
        for _ in range(BUSY_RETRIES):
            try:
                response = self._http.request(method, path, **options)
            except httpx.InvalidURL as error:
                raise RunnerRequestError(
                    "BadRequest", f"The path is none that can be asked for: {error}.", 400
                ) from error
            except httpx.HTTPError as error:
                raise RunnerLost(f"The env runner does not answer {method} {path}: {error!r}.") from error
            if response.status_code != 429:
                break
            time.sleep(min(1.0, float(response.headers.get("Retry-After", "0.05"))))
        if response.is_error:
            raise _error(response)
        return response


def _error(response: httpx.Response) -> RunnerRequestError | RunnerLost:
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = (
            "UnexpectedReply",
            f"The env runner replied {response.status_code}: {response.text[:200]}",
        )
    if code in LOST:
        return RunnerLost(f"The env runner was started anew: {message}")
    kind = CannotStart if code == "CannotStart" else RunnerRequestError
    return kind(code, message, response.status_code)
