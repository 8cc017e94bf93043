"""Every example: a bug that once shipped in a real package, repaired by an AgentSession."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.kube import Kube
from tests.e2e.marks import in_cluster

pytestmark = in_cluster(420)

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(manifest.parent.name for manifest in (ROOT / "examples").glob("*/session.yaml"))


def workspace_of(example: str, namespace: str) -> str:
    """The ConfigMap with the old release, fetched by version and hash, and our regression test."""
    command = [sys.executable, "-m", "examples.prepare", example, "--configmap", namespace]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120).stdout


def test_there_are_at_least_three() -> None:
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_repaired(kube: Kube, example: str) -> None:
    kube.run("apply", "--server-side", "-f", "-", stdin=workspace_of(example, kube.namespace))
    kube.run("apply", "-f", str(ROOT / "examples" / example / "session.yaml"))
    done = kube.wait("agentsession", example, "Finished", seconds=300)
    assert done["status"]["result"]["outcome"] == "Solved", kube.story("agentsession", example)
