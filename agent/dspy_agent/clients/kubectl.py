"""The person's own kubectl, for verbs of the command line that look into a cluster."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dspy_agent.errors import UsageError

TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 5.0
FORWARDING = re.compile(r"^Forwarding from 127\.0\.0\.1:(\d+)")


class Kubectl:
    """Runs kubectl with argument arrays; what it says becomes the message of a UsageError."""

    def __init__(self, kubeconfig: str | None = None) -> None:
        self._command = ["kubectl", *(["--kubeconfig", kubeconfig] if kubeconfig else [])]

    def get(self, resource: str, name: str, namespace: str | None) -> dict[str, Any]:
        """The object. Without a namespace: in that of kubectl's context."""
        where = [] if namespace is None else ["--namespace", namespace]
        value: dict[str, Any] = json.loads(self._run("get", resource, name, *where, "-o", "json"))
        return value

    def logs(self, pod: str, container: str, namespace: str, *, follow: bool) -> int:
        """Prints a container's log as it comes; kubectl's exit code."""
        flags = ["--follow"] if follow else []
        command = [*self._command, "logs", pod, "--container", container, "--namespace", namespace, *flags]
        try:
            return subprocess.run(command, check=False).returncode
        except FileNotFoundError as error:
            raise UsageError("kubectl is not on PATH; install it.") from error

    def secret(self, name: str, key: str, namespace: str) -> str:
        """One value of a Secret."""
        data = self.get("secrets", name, namespace).get("data") or {}
        if key not in data:
            raise UsageError(f"Secret {namespace}/{name} has no key {key}; is this the chart's namespace?")
        return base64.b64decode(data[key]).decode().strip()

    @contextmanager
    def forward(self, target: str, port: int, namespace: str) -> Iterator[int]:
        """A local port that leads to `target`; kubectl ends with the block."""
        command = [*self._command, "port-forward", "--namespace", namespace, "--address", "127.0.0.1"]
        process = subprocess.Popen(
            [*command, target, f":{port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield _local_port(process)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise UsageError("kubectl is not on PATH; install it.") from error
        except subprocess.TimeoutExpired as error:
            raise UsageError("The cluster does not answer; look at your kubeconfig.") from error
        if done.returncode != 0:
            raise UsageError(done.stderr.strip() or f"kubectl {arguments[0]} failed.")
        return done.stdout


def _local_port(process: subprocess.Popen[str]) -> int:
    """kubectl says the port once it listens, or says why not and ends: reading is all the waiting there is."""
    said = []
    for line in process.stdout or ():
        if found := FORWARDING.match(line):
            return int(found.group(1))
        said.append(line.strip())
    raise UsageError(f"kubectl port-forward failed: {' '.join(said)}")
