"""Puts the product on a cluster that `tools.cluster` brought up: images, CRDs, chart.

python3 -m tools.install --name demo
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tools.common.cli import exit_status
from tools.common.paths import REPOSITORY, tool
from tools.common.process import run
from tools.common.progress import Progress
from tools.images.store import archives_of

NAMESPACE = "dspy-agent"
CHARTS = REPOSITORY / "charts"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="demo", help="the cluster's name (default: demo)")
    name = parser.parse_args().name
    return exit_status(lambda: install(name, Progress()))


def install(cluster: str, progress: Progress) -> Path:
    """Install or upgrade on cluster `cluster` and wait until all is ready; return the path of its kubeconfig."""
    kubeconfig = Path(cluster_tool("kubeconfig", "--name", cluster).strip())
    with progress.step("loading the images"):
        cluster_tool("load", "--name", cluster)
    with progress.step("installing the custom resources (chart dspy-agent-crds)"):
        helm(kubeconfig, "dspy-agent-crds")
    with progress.step("installing the operator, orchestrator and RedDB (chart dspy-agent)"):
        restrict_namespace(kubeconfig, NAMESPACE)
        helm(kubeconfig, "dspy-agent", *rollout_values())
    return kubeconfig


def rollout_values() -> list[str]:
    """Values that change when an image was built anew under the same tag: its pods are replaced then."""
    images = {
        "operator": "operator",
        "orchestrator": "orchestrator",
        "reddb": "reddb",
        "runners": "env-runner",
    }
    values = []
    for workload, image in images.items():
        built = archives_of([image])[0].stem
        values += ["--set-string", f"{workload}.podAnnotations.dspyagent\\.io/image={built}"]
    return values


def cluster_tool(verb: str, *arguments: str) -> str:
    return run([sys.executable, "-m", "tools.cluster", verb, *arguments], cwd=REPOSITORY)


def helm(kubeconfig: Path, chart: str, *values: str) -> None:
    run([
        tool("helm"), "upgrade", "--install", chart, CHARTS / chart,
        "--kubeconfig", kubeconfig, "--namespace", NAMESPACE, "--create-namespace",
        "--wait", "--timeout", "5m", *values,
    ])  # fmt: skip


def restrict_namespace(kubeconfig: Path, name: str) -> None:
    """Make namespace `name` with the restricted Pod Security standard: all that the chart makes keeps to it."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    run(
        [tool("kubectl"), "--kubeconfig", kubeconfig, "apply", "--server-side", "-f", "-"],
        stdin=json.dumps(namespace).encode(),
    )


if __name__ == "__main__":
    sys.exit(main())
