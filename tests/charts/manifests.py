"""The committed manifests as data: CRD schemas, and charts as Helm renders them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.charts.apiserver import find_tool

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
PLURALS = {
    "AgentPool": "agentpools",
    "AgentSession": "agentsessions",
    "EnvTask": "envtasks",
    "TrainingJob": "trainingjobs",
}

Manifest = dict[str, Any]


def definition(kind: str) -> Manifest:
    """The CustomResourceDefinition of `kind`, as committed."""
    loaded: Manifest = yaml.safe_load((ROOT / "crds" / f"dspyagent.io_{PLURALS[kind]}.yaml").read_text())
    return loaded


def version(kind: str) -> Manifest:
    """The only version of `kind`: schema, columns, subresources."""
    (only,) = definition(kind)["spec"]["versions"]
    result: Manifest = only
    return result


def schema(kind: str) -> Manifest:
    """The OpenAPI schema of `kind`."""
    result: Manifest = version(kind)["schema"]["openAPIV3Schema"]
    return result


def fields(node: Manifest, path: str = "") -> Iterator[tuple[str, Manifest]]:
    """Every schema below `node`, itself left out, with its path: `.spec.env[].name`."""
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield f"{path}[]", node[key]
            yield from fields(node[key], f"{path}[]")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm to its end, whatever its status."""
    return subprocess.run(
        [find_tool("helm"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def render(*arguments: str, chart: str = "dspy-agent") -> str:
    """What `helm template` prints for release and namespace dspy-agent.

    The version is given because a helm built from source believes in an old Kubernetes.
    """
    done = helm(
        "template",
        "dspy-agent",
        str(CHARTS / chart),
        "--namespace=dspy-agent",
        "--kube-version=1.34.0",
        *arguments,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(rendered: str) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(rendered) if each]


def pod_templates(manifests: list[Manifest]) -> list[Manifest]:
    """The pod template of each workload."""
    workloads = [each for each in manifests if each["kind"] in ("Deployment", "StatefulSet")]
    return [{"name": each["metadata"]["name"], **each["spec"]["template"]} for each in workloads]


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """The pods that are in no workload: those of `helm test`."""
    return [
        {"name": each["metadata"]["name"], "metadata": each["metadata"], "spec": each["spec"]}
        for each in manifests
        if each["kind"] == "Pod"
    ]
