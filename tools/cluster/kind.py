"""The provider `kind`: Kubernetes in a Docker container, for machines with a Docker engine and a registry."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tools.cluster.provider import Cluster, Options, Verdict
from tools.common import docker, paths
from tools.common.process import ToolError, run
from tools.common.progress import Progress

# Kubernetes 1.34, as kind v0.30.0 has it by default (pkg/apis/config/defaults); by digest, so that nothing else can be
# pulled under the name.
NODE_IMAGE = "kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"
ASK_SECONDS = 5.0
PULL_SECONDS = 20.0


class KindProvider:
    """kind, on the PATH or from the tool cache."""

    name = "kind"

    def verdict(self) -> Verdict:
        if shutil.which("docker") is None:
            return Verdict(False, "there is no docker command")
        if not docker.engine_answers():
            return Verdict(False, "no Docker engine answers")
        if not _node_image_reachable():
            return Verdict(False, f"the node image {NODE_IMAGE} is neither here nor in a reachable registry")
        if _program() is None:
            return Verdict(False, "kind is not installed; `python3 -m tools.setup kind` builds it")
        return Verdict(True, f"a Docker engine answers and {NODE_IMAGE} can be had")

    def up(self, cluster: Cluster, options: Options, progress: Progress) -> None:
        if options.nat:
            raise ToolError("--nat is for the provider local; kind's pods reach the network outside anyway.")
        if self.running(cluster):
            progress.line(f"cluster {cluster.name} is already up")
            return
        self.down(cluster, progress)
        cluster.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with progress.step("kind creates the cluster"):
            _kind("create", "cluster", "--name", _name(cluster), "--image", NODE_IMAGE, "--wait=120s",
                  "--kubeconfig", str(cluster.kubeconfig))  # fmt: skip

    def down(self, cluster: Cluster, progress: Progress) -> None:
        if _name(cluster) in _kind("get", "clusters").split():
            progress.line(f"removing cluster {cluster.name}")
            _kind("delete", "cluster", "--name", _name(cluster), "--kubeconfig", str(cluster.kubeconfig))

    def running(self, cluster: Cluster) -> bool:
        return cluster.kubeconfig.exists() and _name(cluster) in _kind("get", "clusters").split()

    def load(self, cluster: Cluster, archive: Path) -> bool:
        _kind("load", "image-archive", str(archive), "--name", _name(cluster))
        return True

    def logs(self, cluster: Cluster) -> Sequence[Path]:
        target = cluster.folder / "logs"
        _kind("export", "logs", str(target), "--name", _name(cluster))
        return sorted(target.rglob("*.log"))


def _name(cluster: Cluster) -> str:
    return f"dspy-{cluster.name}"


def _program() -> str | None:
    built = paths.tool("kind")
    return str(built) if built.exists() else shutil.which("kind")


def _kind(*arguments: str) -> str:
    program = _program()
    if program is None:
        raise ToolError("kind is not installed; `python3 -m tools.setup kind` builds it.")
    return run([program, *arguments])


def _node_image_reachable() -> bool:
    """Whether the image is here already, or its manifest can be read; within a bound."""
    try:
        run(["docker", "image", "inspect", "--format", "{{.Id}}", NODE_IMAGE], timeout_seconds=ASK_SECONDS)
        return True
    except ToolError:
        pass
    try:
        run(["docker", "manifest", "inspect", NODE_IMAGE], timeout_seconds=PULL_SECONDS)
    except ToolError:
        return False
    return True
