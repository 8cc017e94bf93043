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
if words[0] == "logs":
    print(*words)
    sys.exit()
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
    assert plugin(tmp_path, "diff", "s").stdout.strip() == PATCH.strip()
    events = plugin(tmp_path, "events", "s").stdout
    assert events == show(tmp_path, "s", "--events").stdout
    assert "session started" in events
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


def test_a_log_is_that_of_the_container_that_tells(tmp_path: Path) -> None:
    stub_cluster(tmp_path, 0, {"status": {"podName": "s-pod"}})
    for words, container in ((["s"], "agent"), (["ags/s"], "agent"), (["envtask/s", "-f"], "task")):
        shown = plugin(tmp_path, "logs", *words).stdout.split()
        assert shown[:5] == ["logs", "s-pod", "--container", container, "--namespace"]
        assert ("--follow" in shown) == ("-f" in words)
    stub_cluster(tmp_path, 0, {"status": {}})
    refused = plugin(tmp_path, "logs", "s")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "has no pod now" in refused.stderr
    assert "is none of" in plugin(tmp_path, "logs", "pod/s").stderr


def test_a_curve_is_drawn_between_its_lowest_and_its_highest(tmp_path: Path) -> None:
    values = enumerate(("0.10", "0.30", "0.25", "0.90"))
    curve = [{"step": 10 * step, "value": value} for step, value in values]
    stub_cluster(tmp_path, 0, {"status": {"progress": {"curve": curve}}})
    drawn = plugin(tmp_path, "curve", "s").stdout.splitlines()
    assert drawn == ["▁▃▂█", "steps 0 to 30: lowest 0.1, highest 0.9, last 0.9"]
    stub_cluster(tmp_path, 0, {"status": {}})
    assert "has not told its progress" in plugin(tmp_path, "curve", "s").stderr


def stub_kubectl(folder: Path, store: RedDb, status: dict[str, Any]) -> None:
    """A kubectl that knows one session, with that status, and forwards to the store."""
    stub_cluster(folder, int(store.url.rpartition(":")[2]), {"status": status})


def stub_cluster(folder: Path, port: int, fields: dict[str, Any]) -> None:
    """A kubectl that knows one object of each kind, with those fields."""
    found = {"metadata": {"namespace": "demo", "name": "s", "uid": "u"}, **fields}
    kinds = (f"{plural}.dspyagent.io" for plural in ("agentsessions", "envtasks", "trainingjobs"))
    secret = {"data": {"token": base64.b64encode(TOKEN.encode()).decode()}}
    objects = {**dict.fromkeys(kinds, found), "secrets": secret}
    program = KUBECTL.format(python=sys.executable, port=port, objects=objects)
    write_files(folder / "bin", {"kubectl": program})
    (folder / "bin/kubectl").chmod(0o755)


def show(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "dspy_agent.cli", "session-show", *words, "-n", "demo"]
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30, check=False)


def plugin(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`kubectl dspy`, in the namespace of the stand-in's context."""
    argv = [sys.executable, "-c", "import sys; from dspy_agent.cli.plugin import main; sys.exit(main())"]
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        [*argv, *words], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
