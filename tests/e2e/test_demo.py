"""The demo's session on the tests' cluster, and every command that the demo tells people to paste."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from tests.e2e.marks import in_cluster
from tools.common.progress import Progress
from tools.demo import DEFAULT_EXAMPLE, repair, tell_what_next

pytestmark = in_cluster(420)


def test_the_demo_repairs_its_example_and_tells_what_works(
    kubeconfig: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert repair(kubeconfig, DEFAULT_EXAMPLE, Progress(io.StringIO())) == "Solved"
    shown = capfd.readouterr().out
    assert "== The diff\ndiff --git" in shown
    assert "The check after the change (passed)" in shown

    tell_what_next(kubeconfig, DEFAULT_EXAMPLE)
    pasted = [line.strip() for line in capfd.readouterr().out.splitlines() if line.startswith("  ")]
    typed = [line.removeprefix("$ ") for line in shown.splitlines() if line.startswith("$ ")]
    exported, *commands = pasted
    assert len(commands) >= 4
    for command in [*commands, *typed]:
        done = subprocess.run(
            ["bash", "-euc", f"{exported}\n{command}"], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout, command
