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


def own(name: str, module: str, package: str, flags: str = STRIPPED, aliases: tuple[str, ...] = ()) -> Thing:
    """A program of a Go module that lies in this repository; `aliases` are links to it."""
    folder = MODULES / module
    sources = [folder / "go.mod", folder / "go.sum", *sorted((folder / package).glob("*.go"))]
    key = key_of(flags, *aliases, files=sources)

    def install() -> None:
        _build(["build", "-o", str(_partial(name)), f"./{package}"], flags, cwd=folder)
        _partial(name).rename(paths.tool(name))
        for alias in aliases:
            link = paths.tool(alias)
            link.unlink(missing_ok=True)
            link.symlink_to(name)
        write_stamp(name, key)

    return Thing(name, "cluster", lambda: stamped(name, key) and paths.tool(name).exists(), install)


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


def local_cluster() -> list[Thing]:
    return [
        own("kube", "kube", ".", KUBE_FLAGS, aliases=KUBE_PROGRAMS),
        own("etcd", "etcd", "."),
        own("provisioner", "node", "provisioner"),
        own("pause", "node", "pause"),
        own("coredns", "node", "coredns"),
    ]


def checks() -> list[Thing]:
    return [
        released("helm", "checks", "helm.sh/helm/v3/cmd/helm", "v3.22.0"),
        released("kubeconform", "checks", "github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0"),
        released("staticcheck", "checks", "honnef.co/go/tools/cmd/staticcheck", "v0.8.2"),
    ]


def kwok() -> Thing:
    return released("kwok", "cluster", "sigs.k8s.io/kwok/cmd/kwok", KWOK)


def kind() -> Thing:
    return released("kind", "kind", "sigs.k8s.io/kind", "v0.30.0")


def kubectl() -> Thing:
    """kubectl alone, for machines whose cluster is not built here."""
    return released("kubectl", "kind", "k8s.io/kubectl/cmd/kubectl", KUBERNETES.replace("v1.", "v0."))
