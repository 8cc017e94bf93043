"""`dspy-agent session` as the kubelet runs it: a process with the real runner and the real RedDB."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from dspy_agent.clients.reddb import StreamLog

from tests.agent.conftest import BUGGY, CHECK, write_files
from tests.agent.scripted_endpoint import ScriptedEndpoint
from tests.agent.services import TOKEN, RedDb, Service, free_port, reddb, runner

pytestmark = pytest.mark.timeout(120)
RUNNER_TOKEN = "runner-test-token"
WAIT_SECONDS = 60.0


@dataclass
class SessionPod:
    """The services of one session, and the process that the kubelet would start."""

    folder: Path
    store: RedDb
    runner: Service
    model: ScriptedEndpoint
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, **spec: Any) -> subprocess.Popen[str]:
        task = {"prompt": "Fix last().", "check": {"command": list(CHECK), "timeoutSeconds": 60}}
        policy = {"llm": {"endpoint": self.model.url, "model": "scripted"}}
        full = {"task": task, "policy": policy, "workspace": {"configMapRef": {"name": "files"}}} | spec
        session = {"metadata": {"namespace": "n", "name": "s", "uid": "u"}, "spec": full}
        environment = {
            "DSPY_AGENT_SESSION": json.dumps(session),
            "DSPY_AGENT_RUNNER_URL": self.runner.url,
            "DSPY_AGENT_RUNNER_TOKEN_FILE": str(self.folder / "runner/secret/token"),
            "DSPY_AGENT_REDDB_URL": self.store.resp_url,
            "DSPY_AGENT_REDDB_HTTP_URL": self.store.url,
            "DSPY_AGENT_REDDB_TOKEN": TOKEN,
            "DSPY_AGENT_LLM_API_KEY": "secret-key",
            "DSPY_AGENT_LISTEN": f"127.0.0.1:{self.port}",
            "DSPY_AGENT_TERMINATION_LOG": str(self.folder / "termination-log"),
            "DSPY_AGENT_WORKSPACE_SOURCE": str(self.folder / "config"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "dspy_agent.cli", "session"],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def termination(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / "termination-log").read_text())
        return value

    def events(self) -> list[str]:
        log = StreamLog(self.store.resp_url, TOKEN, "session/n/s/u/events")
        try:
            return [event.type for event in log.read(0, 100)]
        finally:
            log.close()

    def get(self, path: str, token: str = RUNNER_TOKEN) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.url}{path}", headers=headers, trust_env=False, timeout=5)

    def wait_for_line(self, process: subprocess.Popen[str], words: str) -> list[str]:
        """The log lines until one holds `words`."""
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if words in line:
                return lines
        raise AssertionError(f"{words!r} never came: {''.join(lines)}")


@pytest.fixture
def pod(
    reddb_binary: Path, runner_binary: Path, tmp_path: Path, endpoint: ScriptedEndpoint
) -> Iterator[SessionPod]:
    write_files(tmp_path / "config", {"last.py": BUGGY})
    store = reddb(reddb_binary, tmp_path)
    sandbox = runner(runner_binary, tmp_path / "runner", RUNNER_TOKEN)
    store.start()
    sandbox.start()
    yield SessionPod(tmp_path, store, sandbox, endpoint)
    sandbox.kill()
    store.kill()


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=WAIT_SECONDS)
    return said


def test_a_task_ends_with_a_termination_message(pod: SessionPod) -> None:
    process = pod.start()
    said = finish(process)
    assert process.returncode == 0, said
    message = pod.termination()
    assert (message["outcome"], message["reason"], message["checkExitCode"]) == ("Solved", "CheckPassed", 0)
    digest = message["patchRef"].removeprefix("reddb://blobs/sha256/")
    patch = httpx.get(f"{pod.store.url}/v1/blobs/{digest}", headers={"Authorization": f"Bearer {TOKEN}"})
    assert "items[len(items) - 1]" in patch.text
    assert "secret-key" not in said
    for line in said.splitlines():
        assert {"ts", "level", "msg", "component", "trace_id"} <= json.loads(line).keys()


def test_commands_have_the_network_where_the_spec_allows_it(
    pod: SessionPod, runner_binary: Path, tmp_path: Path
) -> None:
    open_runner = runner(runner_binary, tmp_path / "open", RUNNER_TOKEN, "--network", "allow")
    open_runner.start()
    pod.runner = open_runner
    program = "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM)"
    check = {"command": [sys.executable, "-c", program]}
    finish(pod.start(task={"check": check}, network={"egress": {"mode": "Allow"}}))
    assert pod.termination()["reason"] == "CheckAlreadyPasses"
    open_runner.kill()


def test_killed_in_the_middle_it_carries_on(pod: SessionPod) -> None:
    process = pod.start()
    pod.wait_for_line(process, "edited last.py")
    process.kill()
    finish(process)
    asked = len(pod.model.requests)
    assert asked >= 3

    process = pod.start()
    said = finish(process)
    assert process.returncode == 0, said
    assert pod.termination()["outcome"] == "Solved"
    assert len(pod.model.requests) <= 5 + (asked - 3)
    assert pod.events().count("edit") == 1
    assert pod.events()[-1] == "session_finished"


def test_the_store_may_restart_in_the_middle(pod: SessionPod) -> None:
    process = pod.start()
    pod.wait_for_line(process, "workspace ready")
    pod.store.kill()
    pod.store.start()
    said = finish(process)
    assert process.returncode == 0, said
    assert pod.termination()["outcome"] == "Solved"


def test_the_runner_may_restart_while_nothing_is_asked_of_it(pod: SessionPod) -> None:
    pod.model.speaks.clear()
    process = pod.start()
    assert pod.model.asked.wait(WAIT_SECONDS)
    pod.runner.kill()
    pod.runner.start()
    pod.model.speaks.set()
    said = finish(process)
    assert process.returncode == 0, said
    assert pod.termination()["outcome"] == "Solved"


def test_an_interactive_session_serves_until_it_is_stopped(pod: SessionPod) -> None:
    process = pod.start(task=None)
    started = time.monotonic()
    while not ready(pod):
        assert time.monotonic() - started < WAIT_SECONDS
    assert pod.get("/healthz").status_code == 200
    assert pod.get("/v1/session").json()["name"] == "s"
    found = pod.get("/v1/events?after=0").json()
    assert [event["type"] for event in found["events"]] == ["session_started", "workspace_ready"]
    assert pod.get("/v1/events?after=2").json() == {"events": [], "next": 2}
    assert pod.get("/v1/events?after=x").status_code == 400
    assert pod.get("/v1/session", token="wrong").status_code == 401
    assert "dspy_agent_ready 1.0" in pod.get("/metrics").text
    process.send_signal(signal.SIGTERM)
    said = finish(process)
    assert process.returncode == 0, said


def ready(pod: SessionPod) -> bool:
    try:
        return pod.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_sigterm_in_a_task_leaves_it_to_the_next_start(pod: SessionPod) -> None:
    process = pod.start(task={"prompt": "p", "check": {"command": ["sleep", "60"]}})
    pod.wait_for_line(process, "workspace ready")
    process.send_signal(signal.SIGTERM)
    said = finish(process)
    assert process.returncode == 143, said
    assert not (pod.folder / "termination-log").exists()


def test_sigterm_while_the_model_thinks_leaves_the_task_to_the_next_start(pod: SessionPod) -> None:
    pod.model.speaks.clear()
    process = pod.start()
    assert pod.model.asked.wait(WAIT_SECONDS)
    process.send_signal(signal.SIGTERM)
    said = finish(process)
    assert process.returncode == 143, said
    assert not (pod.folder / "termination-log").exists()
    assert pod.events()[-1] == "check_before"

    pod.model.speaks.set()
    finish(pod.start())
    assert pod.termination()["outcome"] == "Solved"


@pytest.mark.parametrize("name", ["DSPY_AGENT_SESSION", "DSPY_AGENT_REDDB_URL", "DSPY_AGENT_REDDB_TOKEN"])
def test_a_missing_setting_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    environment = {
        "DSPY_AGENT_SESSION": "{}",
        "DSPY_AGENT_RUNNER_TOKEN_FILE": str(tmp_path / "token"),
        "DSPY_AGENT_REDDB_URL": "redis://127.0.0.1:1",
        "DSPY_AGENT_REDDB_HTTP_URL": "http://127.0.0.1:1",
        "DSPY_AGENT_REDDB_TOKEN": "t",
    }
    del environment[name]
    done = subprocess.run(
        [sys.executable, "-m", "dspy_agent.cli", "session"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert name in done.stderr
