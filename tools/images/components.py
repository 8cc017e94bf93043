"""Which images there are, and what goes into each."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.common.paths import REPOSITORY
from tools.common.process import ToolError
from tools.images.base import BASE

VERSION = "0.1.0"
ROOT_SCRIPT = "images/root.sh"


@dataclass(frozen=True)
class Component:
    """One image.

    Attributes:
        inputs: files and folders of the repository that its Dockerfile copies.
        lock: a hashed requirements file below requirements/, whose packages it copies from dist/python/<name>.
    """

    name: str
    inputs: tuple[str, ...] = ()
    lock: str | None = None

    @property
    def tag(self) -> str:
        return f"localhost/dspy-agent/{self.name}:{VERSION}"

    @property
    def dockerfile(self) -> Path:
        return REPOSITORY / "images" / self.name / "Dockerfile"

    @property
    def from_debian(self) -> bool:
        return f"FROM {BASE}" in self.dockerfile.read_text()


COMPONENTS = (
    Component("env-runner", inputs=("dist/bin/env-runner",)),
    Component("reddb", inputs=("dist/bin/reddb",)),
    Component("orchestrator", inputs=("dist/bin/orchestrator",)),
    Component("sandbox-python", lock="sandbox.txt"),
    Component("operator", inputs=("operator/dspy_operator", ROOT_SCRIPT), lock="operator.txt"),
    Component("agent", inputs=("agent/dspy_agent", ROOT_SCRIPT), lock="agent.txt"),
)


def select(names: list[str]) -> list[Component]:
    """The named components, or all; raises ToolError naming the alternatives."""
    known = {component.name: component for component in COMPONENTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ToolError(f"No component {', '.join(unknown)}; there are: {', '.join(known)}.")
    return [known[name] for name in names] if names else list(COMPONENTS)


def lock_file(component: Component) -> Path | None:
    return REPOSITORY / "requirements" / component.lock if component.lock else None


def files(component: Component) -> Iterator[Path]:
    """Every file below the inputs, sorted, compiled Python left out.

    Raises:
        ToolError: an input is missing.
    """
    for name in component.inputs:
        path = REPOSITORY / name
        if not path.exists():
            raise ToolError(f"{name} is missing: `make build` makes the binaries.")
        found = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        yield from (each for each in found if "__pycache__" not in each.parts)


def content_hash(component: Component, base: str) -> str:
    """Changes when anything changes that the image is made from; `base` identifies the base image."""
    digest = hashlib.sha256(f"{component.tag}\0{base}\0".encode())
    lock = lock_file(component)
    for path in [component.dockerfile, *([lock] if lock else []), *files(component)]:
        mode = path.stat().st_mode & 0o777
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{path.relative_to(REPOSITORY)}\0{mode:o}\0{content}\0".encode())
    return digest.hexdigest()[:16]


def stage(component: Component, packages: Path | None, target: Path) -> None:
    """Copy the inputs into `target`, where they lie as they do in the repository, packages under dist/python."""
    shutil.rmtree(target, ignore_errors=True)
    for path in files(component):
        copy = target / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    if packages:
        shutil.copytree(packages, target / "dist" / "python" / component.name, symlinks=True)
    target.mkdir(parents=True, exist_ok=True)
