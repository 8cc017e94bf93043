"""Servers that the end-to-end tests need beside the product: a git host, and an endpoint that plays a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.kube import Manifest
from tests.e2e.manifests import BUGGY_FILES, config_map

COUNTER_SERVER = Path(__file__).with_name("counter_server.py")
IMAGE = "localhost/dspy-agent/sandbox-python:0.1.0"
SCRIPTED_ENDPOINT = Path(__file__).resolve().parents[1] / "agent" / "scripted_endpoint.py"

SERVE_GIT = """
set -eu
cd /served
git init --quiet --initial-branch=main pages
cp /files/*.py pages/
git -C pages -c user.name=Tests -c user.email=tests@example.org add .
git -C pages -c user.name=Tests -c user.email=tests@example.org commit --quiet -m 'A page counter'
git clone --quiet --bare pages pages.git
git -C pages.git update-server-info
exec python3 -m http.server 8000
"""


def server_pod(name: str, command: list[str], config: str) -> list[Manifest]:
    """A pod on port 8000 with ConfigMap `config` at /files and room at /served, and its Service."""
    container: dict[str, Any] = {
        "name": "server",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [{"name": "HOME", "value": "/served"}, {"name": "PYTHONUNBUFFERED", "value": "1"}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "files", "mountPath": "/files"},
            {"name": "served", "mountPath": "/served"},
        ],
    }
    pod: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "files", "configMap": {"name": config}},
                {"name": "served", "emptyDir": {}},
            ],
        },
    }
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 8000}]},
    }
    return [pod, service]


GIT_SERVER = [
    config_map("git-files", BUGGY_FILES),
    *server_pod("git-server", ["sh", "-c", SERVE_GIT], "git-files"),
]


def scripted_model() -> list[Manifest]:
    """The agent tests' scripted endpoint, unchanged, behind a Service."""
    files = {"scripted_endpoint.py": SCRIPTED_ENDPOINT.read_text()}
    command = ["python3", "/files/scripted_endpoint.py", "--listen", "0.0.0.0:8000"]
    return [config_map("scripted-model", files), *server_pod("scripted-model", command, "scripted-model")]


def counter() -> list[Manifest]:
    """counter_server.py behind a Service."""
    files = {"counter_server.py": COUNTER_SERVER.read_text()}
    command = ["python3", "/files/counter_server.py"]
    return [config_map("counter", files), *server_pod("counter", command, "counter")]
