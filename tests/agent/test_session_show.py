"""`dspy-agent session-show` on the real RedDB; a script stands in for kubectl and its cluster."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dspy_agent.clients.reddb import BlobClient, StreamLog
from dspy_agent.core.events import Event

from tests.agent.conftest import ROOT, write_files
from tests.agent.services import TOKEN, RedDb, reddb

pytestmark = pytest.mark.timeout(60)
STORY = ("session_started", "check_before", "tool_call-screening", "check_after", "session_finished")
PATCH = "diff --git a/last.py b/last.py\n"
KUBECTL = """#!{python}
import json, sys, time
words = sys.argv[1:]
if words[0] == "port-forward":
    print("Forwarding from 127.0.0.1:{port} -> 8082", flush=True)
    time.sleep(60)
if words[2] == "absent":
    sys.exit('agentsessions "absent" not found')
print(json.dumps({objects}[words[1]]))
"""


def test_the_story_of_a_session(reddb_binary: Path, tmp_path: Path) -> None:
    store = reddb(reddb_binary, tmp_path)
    store.start()
    blobs = BlobClient(store.url, TOKEN)
    reference = f"reddb://blobs/sha256/{blobs.put(PATCH.encode())}"
    log = StreamLog(store.resp_url, TOKEN, "session/demo/s/u/events")
    for seq, name in enumerate(STORY, 1):
        value = json.loads((ROOT / f"contracts/events/examples/session-event.{name}.json").read_text())
        log.append(Event(seq, value["type"], value["time"], value["elapsed_seconds"], value["data"]))
    log.close()
    blobs.close()
    stub_kubectl(tmp_path, store, {"result": {"patchRef": reference}})

    shown = show(tmp_path, "s")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(
        "AgentSession demo/s: Solved (CheckPassed) after 1.3 s, 1 candidates tried"
    )
    parts = (
        "session started",
        "screened 3 candidate edits in one process: 1 passes",
        "The check before any change (exit code 1)",
        "IndexError",
        PATCH,
    )
    for part in parts:
        assert part in shown.stdout
    assert show(tmp_path, "s", "--diff").stdout.strip() == PATCH.strip()
    assert len(json.loads(show(tmp_path, "s", "--json").stdout)["events"]) == len(STORY)
    missing = show(tmp_path, "absent")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "not found" in missing.stderr
    store.kill()


def test_a_session_that_waits_tells_why(reddb_binary: Path, tmp_path: Path) -> None:
    store = reddb(reddb_binary, tmp_path)
    store.start()
    ready = {"type": "Ready", "status": "False", "reason": "PoolNotFound", "message": "x"}
    stalled = {"type": "Stalled", "status": "True", "reason": "PoolNotFound", "message": "There is no pool."}
    stub_kubectl(tmp_path, store, {"conditions": [ready, stalled]})
    shown = show(tmp_path, "s")
    assert shown.stdout.startswith("AgentSession demo/s: Stalled (PoolNotFound): There is no pool.\n")
    assert "The diff" not in shown.stdout
    store.kill()


def stub_kubectl(folder: Path, store: RedDb, status: dict[str, Any]) -> None:
    """A kubectl that knows one session, with that status, and forwards to the store."""
    objects = {
        "agentsessions.dspyagent.io": {
            "metadata": {"namespace": "demo", "name": "s", "uid": "u"},
            "status": status,
        },
        "secrets": {"data": {"token": base64.b64encode(TOKEN.encode()).decode()}},
    }
    port = store.url.rpartition(":")[2]
    program = KUBECTL.format(python=sys.executable, port=port, objects=objects)
    write_files(folder / "bin", {"kubectl": program})
    (folder / "bin/kubectl").chmod(0o755)


def show(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "dspy_agent.cli", "session-show", *words, "-n", "demo"]
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30, check=False)
