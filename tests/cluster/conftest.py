"""Clusters of the local provider, for the tests of what it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.cluster.local.provider import LocalProvider
from tools.cluster.provider import Cluster
from tools.common import paths
from tools.common.process import run

Up = Callable[[str], Cluster]
# The one skip there is: on a laptop with Docker there is nothing of this provider to test.
on_local_provider = [
    pytest.mark.cluster,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        os.geteuid() != 0 or sys.platform != "linux", reason="the local provider needs root on Linux"
    ),
]


def tool(*arguments: str) -> str:
    return run([sys.executable, "-m", "tools.cluster", *arguments], cwd=paths.REPOSITORY, timeout_seconds=180)


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """Bring clusters up by name; they are removed afterwards, whatever happened."""
    verdict = LocalProvider().verdict()
    assert verdict.usable, verdict.reason
    monkeypatch.setenv("DSPY_STATE", str(tmp_path))
    names = []

    def bring_up(name: str) -> Cluster:
        names.append(name)
        tool("up", "--name", name, "--provider", "local")
        return Cluster(name, tmp_path / name)

    yield bring_up
    for name in names:
        tool("down", "--name", name)
