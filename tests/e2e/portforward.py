"""Reaching a service of the cluster from the test's own process."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.kube import Kube


class PortForwardError(AssertionError):
    """kubectl forwards no port: there is no pod behind it that runs."""


@contextmanager
def port_forward(kube: Kube, target: str, port: int) -> Iterator[int]:
    """Forward a free local port to `target`; yields the local port once kubectl says that it listens."""
    process = subprocess.Popen(
        ["kubectl", "--namespace", kube.namespace, "port-forward", "--address=127.0.0.1", target, f":{port}"],
        env={**os.environ, "KUBECONFIG": str(kube.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        listening = re.search(r"127\.0\.0\.1:(\d+)", line)
        if listening is None:
            raise PortForwardError(f"kubectl port-forward said: {line}")
        yield int(listening[1])
    finally:
        process.terminate()
        process.communicate(timeout=10)


def secret_value(kube: Kube, name: str, key: str = "token") -> str:
    """A key of a Secret, decoded."""
    secret = kube.get("secret", name)
    return base64.b64decode(secret["data"][key]).decode()
