"""What is in the built images, and what is not: a shell that nobody needs is one that an attacker can use."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.images import store

pytestmark = pytest.mark.cluster  # they are built for the cluster

SHELLS = {"sh", "bash", "dash", "busybox", "perl"}
INSTALLERS = {"apt", "apt-get", "dpkg", "pip", "pip3"}
STATIC = ("env-runner", "reddb", "orchestrator")


def contents(component: str) -> set[Path]:
    """Every path in the image that is no folder."""
    archive = store.latest(component)
    assert archive.exists(), f"`python3 -m tools.images build {component}` makes the image"
    return {Path("/", member.name) for member in members(archive) if not member.isdir()}


def members(archive: Path) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(archive) as image:
        manifest = image.extractfile("manifest.json")
        assert manifest is not None
        for layer in json.load(manifest)[0]["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                yield from files


def programs(component: str) -> set[str]:
    folders = {"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin"}
    return {path.name for path in contents(component) if str(path.parent) in folders}


@pytest.mark.parametrize("component", STATIC)
def test_a_static_programs_image_is_the_program_alone(component: str) -> None:
    assert contents(component) == {Path("/", component)}


def test_the_operators_image_has_no_shell_and_installs_nothing() -> None:
    assert programs("operator") == {"dspy-operator", "python3", "python3.11"}
    assert not {path.name for path in contents("operator")} & (SHELLS | INSTALLERS)


def test_the_agents_image_has_a_shell_only_for_git_to_start_ssh_with() -> None:
    found = programs("agent")
    assert found == {"dspy-agent", "python3", "python3.11", "git", "ssh", "sh", "dash"}
    assert not {path.name for path in contents("agent")} & INSTALLERS


@pytest.mark.parametrize("component", ["operator", "agent"])
def test_scanners_find_the_packages_that_an_image_was_made_from(component: str) -> None:
    records = {path.name for path in contents(component) if path.parent == Path("/var/lib/dpkg/status.d")}
    assert {"libc6", "libssl3", "libpython3.11-stdlib", "python3.11-minimal", "zlib1g"} <= records
    assert "perl-base" not in records
