"""Two programs that turn a Dockerfile into a docker archive: Docker's engine, or buildah where there is none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from tools.common import docker, paths
from tools.common.process import ToolError, run
from tools.common.progress import Progress
from tools.images import base
from tools.images.components import Component

BUILD_SECONDS = 1800.0
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Builder(Protocol):
    """Builds one image at a time."""

    name: str

    def prepare_base(self, progress: Progress) -> None:
        """See to it that the base image can be had."""

    def build(self, component: Component, context: Path, archive: Path) -> None:
        """Build `component` from the staged `context` and write it to `archive`."""


class DockerBuilder:
    """`docker build`, on a machine whose engine pulls the base image from a registry."""

    name = "docker"

    def prepare_base(self, progress: Progress) -> None:
        try:
            run(["docker", "image", "inspect", "--format", "{{.Id}}", base.BASE])
            return
        except ToolError:
            progress.line(f"pulling {base.BASE}")
        try:
            run(["docker", "pull", "--quiet", base.BASE], timeout_seconds=120)
        except ToolError:
            progress.line("no registry answers")
            run(["docker", "import", base.root_archive(progress), base.BASE])

    def build(self, component: Component, context: Path, archive: Path) -> None:
        run(["docker", "build", "--quiet", "--network=host", "--tag", component.tag, "--file", component.dockerfile,
             context], timeout_seconds=BUILD_SECONDS)  # fmt: skip
        run(["docker", "save", "--output", archive, component.tag], timeout_seconds=BUILD_SECONDS)


class BuildahBuilder:
    """buildah without a daemon, its storage in the cache. Needs root; no runtime, since commands run in a chroot."""

    name = "buildah"

    def __init__(self) -> None:
        root = paths.cache() / "containers"
        self._buildah = [
            "buildah",
            f"--root={root / 'storage'}",
            f"--runroot={root / 'run'}",
            "--storage-driver=overlay",
        ]

    def prepare_base(self, progress: Progress) -> None:
        try:
            run([*self._buildah, "inspect", "--type=image", "--format={{.FromImageID}}", base.BASE])
        except ToolError:
            self._import_base(base.root_archive(progress))

    def _import_base(self, archive: Path) -> None:
        container = run([*self._buildah, "from", "scratch"]).strip()
        try:
            run([*self._buildah, "add", "--quiet", container, archive, "/"])
            run([*self._buildah, "config", "--cmd=bash", f"--env=PATH={SEARCH_PATH}", container])
            run([*self._buildah, "commit", "--quiet", container, base.BASE])
        finally:
            run([*self._buildah, "rm", container])

    def build(self, component: Component, context: Path, archive: Path) -> None:
        run([*self._buildah, "build", "--quiet", "--layers", "--pull-never", "--isolation=chroot", "--network=host",
             "--format=docker", "--tag", component.tag, "--file", component.dockerfile, context],
            timeout_seconds=BUILD_SECONDS)  # fmt: skip
        run([*self._buildah, "push", "--quiet", component.tag, f"docker-archive:{archive}:{component.tag}"],
            timeout_seconds=BUILD_SECONDS)  # fmt: skip


def choose(progress: Progress) -> Builder:
    """Docker's engine if one answers, else buildah.

    Raises:
        ToolError: neither is there.
    """
    if docker.engine_answers():
        return DockerBuilder()
    if shutil.which("buildah"):
        progress.line("no Docker engine answers; buildah builds")
        return BuildahBuilder()
    raise ToolError(
        "Images need a running Docker engine, or buildah and root (`python3 -m tools.setup images`)."
    )
