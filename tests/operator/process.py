"""The operator as a process of its own: started, killed, stopped as a kubelet would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx
from prometheus_client.parser import text_string_to_metric_families

_STOP_S = 20


class OperatorProcess:
    """One replica that serves one namespace. `name` is its identity in the Lease, `prefix` a command that starts it."""

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        folder: Path,
        *,
        name: str = "operator-0",
        lease_s: float = 30,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [*prefix, sys.executable, "-m", "dspy_operator"]
        token = folder / "reddb-token"
        token.write_text("test-master-token")
        self._env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(folder),
            # A second working tree beside the installed one is tested with its own code.
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
            "KUBECONFIG": str(kubeconfig),
            "DSPY_OPERATOR_NAMESPACE": namespace,
            "DSPY_OPERATOR_WATCH_NAMESPACES": namespace,
            "DSPY_OPERATOR_AGENT_IMAGE": "localhost/dspy-agent/agent:test",
            "DSPY_OPERATOR_ENV_RUNNER_IMAGE": "localhost/dspy-agent/env-runner:test",
            "DSPY_OPERATOR_RUNNER_IMAGE": "localhost/dspy-agent/sandbox-python:test",
            "DSPY_OPERATOR_REDDB_URL": "redis://reddb:6380",
            "DSPY_OPERATOR_REDDB_HTTP_URL": "http://reddb:8082",
            "DSPY_OPERATOR_REDDB_TOKEN_FILE": str(token),
            "DSPY_OPERATOR_LISTEN": "127.0.0.1:0",
            "DSPY_OPERATOR_LEASE_SECONDS": str(lease_s),
            "DSPY_OPERATOR_RETRY_SECONDS": "0.2",
            "DSPY_OPERATOR_IDENTITY": name,
            **(env or {}),
        }
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    def __enter__(self) -> OperatorProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self.stop() if self._process is not None else 0
        assert kind is not None or code == 0, f"the operator ended with {code}:\n{self.log()}"

    def start(self) -> None:
        """Starts it and waits for the line that names its port."""
        with self._log.open("a") as log:
            offset = log.tell()
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            entry = json.loads(line)
            if "port" in entry["msg"]:
                self._port = int(entry["msg"].rsplit(" ", 1)[1])
                break
        else:
            raise AssertionError(f"the operator did not start: {self._log.read_text()[offset:]}")

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate(timeout=_STOP_S)
        self._process = None

    def stop(self) -> int:
        """SIGTERM; answers the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            output, _ = self._process.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate(timeout=_STOP_S)
        with self._log.open("a") as log:
            log.write(output)
        code = self._process.returncode
        self._process = None
        return code

    def log(self) -> str:
        """What it has written to stderr, and after its end to stdout."""
        return self._log.read_text()

    def get(self, path: str) -> httpx.Response:
        """A request to its probe and metrics port."""
        return httpx.get(f"http://127.0.0.1:{self._port}{path}", trust_env=False)

    def writes(self) -> dict[tuple[str, str], int]:
        """Accepted writes by (verb, resource), Lease renewals left out."""
        found = {}
        for family in text_string_to_metric_families(self.get("/metrics").text):
            for sample in family.samples:
                if (
                    sample.name == "dspy_operator_apiserver_writes_total"
                    and sample.labels["resource"] != "leases"
                ):
                    found[sample.labels["verb"], sample.labels["resource"]] = int(sample.value)
        return found

    def rss_bytes(self) -> int:
        """Resident memory."""
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
