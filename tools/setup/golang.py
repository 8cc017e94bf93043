"""Programs built from the Go module proxy, at pinned versions, into the tool cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tools.common import paths
from tools.common.process import ToolError, run
from tools.setup.thing import Thing, key_of, stamped, write_stamp

BUILD_SECONDS = 3600
STRIPPED = "-s -w"
KUBERNETES = "v1.34.4"
KWOK = "v0.8.0"
MODULES = paths.REPOSITORY / "tools" / "cluster"

# Without these flags clients take the server for version v0.0.0-master.
KUBE_FLAGS = STRIPPED + "".join(
    f" -X {package}.{variable}={value}"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for variable, value in (("gitVersion", KUBERNETES), ("gitMajor", "1"), ("gitMinor", "34"))
)
KUBE_PROGRAMS = (
    "kubectl",
    "kubelet",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
)


def own(name: str, group: str, package: str, flags: str = STRIPPED, aliases: tuple[str, ...] = ()) -> Thing:
    """A program of this repository: `package` is its module's folder, and its own in that; `aliases` link to it."""
    module, _, inside = package.partition("/")
    folder = MODULES / module
    sources = [folder / "go.mod", folder / "go.sum", *sorted((folder / inside).glob("*.go"))]
    key = key_of(flags, *aliases, files=sources)

    def install() -> None:
        _build(["build", "-o", str(_partial(name)), f"./{inside}"], flags, cwd=folder)
        _partial(name).rename(paths.tool(name))
        for alias in aliases:
            link = paths.tool(alias)
            link.unlink(missing_ok=True)
            link.symlink_to(name)
        write_stamp(name, key)

    return Thing(name, group, lambda: stamped(name, key) and paths.tool(name).exists(), install)


def released(name: str, group: str, package: str, version: str) -> Thing:
    """A program as its authors released it."""

    def install() -> None:
        folder = paths.cache() / "build" / "go-bin"
        folder.mkdir(parents=True, exist_ok=True)
        _build(["install", f"{package}@{version}"], STRIPPED, cwd=folder, GOBIN=str(folder))
        (folder / name).rename(paths.tool(name))
        write_stamp(name, version)

    return Thing(name, group, lambda: stamped(name, version) and paths.tool(name).exists(), install)


def _partial(name: str) -> Path:
    return paths.tool(f".{name}.partial")


def _build(arguments: list[str], flags: str, cwd: Path, **extra: str) -> None:
    if shutil.which("go") is None:
        raise ToolError("Go is not installed: https://go.dev/dl has it (1.24 or newer).")
    paths.tool("").mkdir(parents=True, exist_ok=True)
    verb, *rest = arguments
    environment = {**os.environ, "CGO_ENABLED": "0", **extra}
    run(
        ["go", verb, "-trimpath", "-ldflags", flags, *rest],
        cwd=cwd,
        env=environment,
        timeout_seconds=BUILD_SECONDS,
    )


def kubernetes() -> list[Thing]:
    """What charts are installed and tested with, on whichever cluster; the apiserver's tests need no cluster at all."""
    return [
        own("kube", "kubernetes", "kube", KUBE_FLAGS, aliases=KUBE_PROGRAMS),
        own("etcd", "kubernetes", "etcd"),
        released("kwok", "kubernetes", "sigs.k8s.io/kwok/cmd/kwok", KWOK),
        released("helm", "kubernetes", "helm.sh/helm/v3/cmd/helm", "v3.22.0"),
    ]


def local_cluster() -> list[Thing]:
    """What the node of a local cluster needs besides."""
    return [own(name, "cluster", f"node/{name}") for name in ("provisioner", "pause", "coredns")]


def kind() -> Thing:
    return released("kind", "kind", "sigs.k8s.io/kind", "v0.30.0")


def checks() -> list[Thing]:
    return [
        released("kubeconform", "checks", "github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0"),
        released("staticcheck", "checks", "honnef.co/go/tools/cmd/staticcheck", "v0.8.2"),
    ]
