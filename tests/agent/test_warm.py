"""`dspy-agent warm` as the kubelet runs it: bound over HTTP, killed, and its runner killed, at bad moments."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from dspy_agent.clients.reddb import StreamLog
from dspy_agent.pod.binding import Binding

from tests.agent.conftest import BUGGY
from tests.agent.scripted_endpoint import ScriptedEndpoint
from tests.agent.services import TOKEN, RedDb, Service, free_port, reddb, runner

pytestmark = pytest.mark.timeout(120)
RUNNER_TOKEN = "runner-test-token"
BIND_TOKEN = "bind-test-token"
LLM_KEY = "secret-key"
VALUE = "a secret of the user's"
SECRETS = (RUNNER_TOKEN, BIND_TOKEN, TOKEN, LLM_KEY, VALUE)
WAIT_SECONDS = 60.0
# Fails without the variable, and until the bug is repaired.
CHECK = [
    sys.executable,
    "-c",
    f"import os, last; assert os.environ['GREETING'] == {VALUE!r}; assert last.last([1, 2]) == 2",
]


@dataclass
class WarmPod:
    """The services of a pool's pod, and the process that the kubelet would start."""

    folder: Path
    store: RedDb
    runner: Service
    model: ScriptedEndpoint
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    def start(self) -> subprocess.Popen[str]:
        (self.folder / "bound").mkdir(exist_ok=True)
        environment = {
            "DSPY_AGENT_RUNNER_URL": self.runner.url,
            "DSPY_AGENT_RUNNER_TOKEN_FILE": str(self.folder / "runner/secret/token"),
            "DSPY_AGENT_REDDB_URL": self.store.resp_url,
            "DSPY_AGENT_REDDB_HTTP_URL": self.store.url,
            "DSPY_AGENT_LISTEN": f"127.0.0.1:{self.port}",
            "DSPY_AGENT_TERMINATION_LOG": str(self.folder / "termination-log"),
            "DSPY_AGENT_BIND_TOKEN_SHA256": hashlib.sha256(BIND_TOKEN.encode()).hexdigest(),
            "DSPY_AGENT_BOUND_DIR": str(self.folder / "bound"),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dspy_agent.cli", "warm"],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.process

    def start_warm(self) -> subprocess.Popen[str]:
        process = self.start()
        wait_until(lambda: self.readyz() == 200)
        return process

    def bind(self, body: Mapping[str, Any], wait: object = 0, token: str = BIND_TOKEN) -> httpx.Response:
        return self.post(json.dumps(body).encode(), wait, f"Bearer {token}")

    def post(
        self, body: bytes, wait: object = 0, authorization: str = f"Bearer {BIND_TOKEN}"
    ) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}/v1/bind?waitSeconds={wait}"
        return httpx.post(
            url, content=body, headers={"Authorization": authorization}, timeout=30, trust_env=False
        )

    def get(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {RUNNER_TOKEN}"}
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, trust_env=False, timeout=5)

    def readyz(self) -> int:
        """Its status; 0 when nobody answers."""
        try:
            return self.get("/readyz").status_code
        except httpx.TransportError:
            return 0

    def termination(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / "termination-log").read_text())
        return value

    def events(self) -> list[str]:
        log = StreamLog(self.store.resp_url, TOKEN, "session/n/s/u/events")
        try:
            return [event.type for event in log.read(0, 100)]
        finally:
            log.close()


@pytest.fixture
def pod(
    reddb_binary: Path, runner_binary: Path, tmp_path: Path, endpoint: ScriptedEndpoint
) -> Iterator[WarmPod]:
    store = reddb(reddb_binary, tmp_path)
    sandbox = runner(runner_binary, tmp_path / "runner", RUNNER_TOKEN, "--bindable")
    store.start()
    sandbox.start()
    pod = WarmPod(tmp_path, store, sandbox, endpoint)
    yield pod
    if pod.process is not None and pod.process.poll() is None:
        pod.process.kill()
        finish(pod.process)
    sandbox.kill()
    store.kill()


def request(pod: WarmPod, uid: str = "u", **spec: Any) -> dict[str, Any]:
    """A session that needs everything that a bind carries."""
    full = {
        "task": {"prompt": "Fix last().", "check": {"command": CHECK, "timeoutSeconds": 60}},
        "policy": {"llm": {"endpoint": pod.model.url, "model": "scripted"}},
        "workspace": {"configMapRef": {"name": "files"}},
    } | spec
    return {
        "session": {"metadata": {"namespace": "n", "name": "s", "uid": uid}, "spec": full},
        "environment": [{"name": "GREETING", "value": VALUE}],
        "reddbToken": TOKEN,
        "llmApiKey": LLM_KEY,
        "workspaceSource": {"last.py": encoded(BUGGY), "docs__readme.md": encoded("Read me.\n")},
        "gitSecret": None,
    }


def gated(pod: WarmPod) -> dict[str, Any]:
    """A session whose setup lasts until the test makes the file `go`."""
    script = f"touch {pod.folder}/runner/workspace/begun; until [ -e go ]; do sleep 0.02; done"
    workspace = {"configMapRef": {"name": "files"}, "setup": {"command": ["sh", "-c", script]}}
    return request(pod, workspace=workspace)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=WAIT_SECONDS)
    return said


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_bound_session_is_ready_and_solved_with_all_that_it_was_given(pod: WarmPod) -> None:
    process = pod.start_warm()
    assert pod.get("/v1/session").json()["phase"] == "Unbound"
    assert "dspy_agent_ready 0.0" in pod.get("/metrics").text
    pod.model.speaks.clear()
    reply = pod.bind(request(pod), wait=10)
    assert (reply.status_code, reply.json()) == (200, {"state": "Ready"})
    assert pod.readyz() == 200
    assert pod.get("/v1/session").json()["name"] == "s"
    pod.model.speaks.set()
    said = finish(process)
    assert process.returncode == 0, said
    assert (pod.termination()["outcome"], pod.termination()["reason"]) == ("Solved", "CheckPassed")
    kept = pod.folder / "bound" / "request.json"
    assert kept.stat().st_mode & 0o077 == 0
    told = said + (pod.folder / "termination-log").read_text()
    # The check's own text, which events show, has the value in it.
    told = told.replace(json.dumps(CHECK[2])[1:-1], "")
    assert not [secret for secret in SECRETS if secret in told]


def test_it_is_bound_to_one_session_whose_state_it_tells_again(pod: WarmPod) -> None:
    pod.start_warm()
    body = gated(pod) | {"environment": []}
    body["session"]["spec"] |= {"task": None}
    assert pod.bind(body).json() == {"state": "Preparing"}
    assert pod.readyz() == 503
    assert pod.bind(body, wait=0.1).json() == {"state": "Preparing"}
    assert code(pod.bind(request(pod, uid="other"))) == (409, "BoundToAnother")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(pod.bind, body, 10)
        wait_until((pod.folder / "runner/workspace/begun").exists)
        (pod.folder / "runner/workspace/go").touch()
        assert waiting.result().json() == {"state": "Ready"}
    assert pod.readyz() == 200
    assert pod.bind(body).json() == {"state": "Ready"}


def test_of_many_sessions_at_once_one_is_bound(pod: WarmPod) -> None:
    pod.start_warm()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda uid: pod.bind(request(pod, uid=uid, task=None)), "abcdefgh"))
    assert sorted(reply.status_code for reply in replies) == [200] + [409] * 7


def test_who_has_no_token_is_refused_before_the_body(pod: WarmPod) -> None:
    pod.start_warm()
    digest = hashlib.sha256(BIND_TOKEN.encode()).hexdigest()
    for wrong in ("", "Bearer x", f"Bearer {BIND_TOKEN}x", f"Bearer {digest}", f"Bearer {RUNNER_TOKEN}"):
        assert code(pod.post(b"{", authorization=wrong)) == (401, "Unauthorized")
    connection = http.client.HTTPConnection("127.0.0.1", pod.port, timeout=10)
    connection.putrequest("POST", "/v1/bind")
    connection.putheader("Content-Length", "1000")
    connection.endheaders()  # and not a byte of the body
    assert connection.getresponse().status == 401
    connection.close()
    assert pod.readyz() == 200


def test_what_cannot_be_bound_is_refused_in_words_that_hold_no_secret(pod: WarmPod) -> None:
    pod.start_warm()
    good = request(pod)
    metadata = good["session"]["metadata"]
    bad: list[tuple[dict[str, Any], str]] = [
        ({"session": {"metadata": metadata}}, "session.spec: Field required"),
        ({"session": {"metadata": metadata | {"uid": ""}, "spec": {}}}, "session.metadata.uid"),
        ({"session": {"metadata": metadata, "spec": {"budget": {"usd": "x"}}}}, "no AgentSession"),
        ({"environment": [{"name": "A=B", "value": VALUE}]}, "environment.0.name"),
        ({"environment": [{"name": "A", "value": VALUE + "\0"}]}, "environment.0.value"),
        ({"environment": [{"name": "A", "value": VALUE * 100_000}]}, "commands take 1048576"),
        ({"reddbToken": ""}, "reddbToken"),
        ({"workspaceSource": {"../x": encoded("x")}}, "workspaceSource"),
        ({"workspaceSource": {"..data": encoded("x")}}, "workspaceSource"),
        ({"gitSecret": {"token": "é" + VALUE}}, "this is not base64"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
    ]
    for change, words in bad:
        reply = pod.bind(good | change)
        assert (code(reply), words in reply.text) == ((422, "Invalid"), True), reply.text
        assert not [secret for secret in SECRETS if secret in reply.text]
    assert code(pod.post(b"{")) == (422, "Invalid")
    for wait in ("soon", "-1", "11", "nan"):
        assert code(pod.bind(good, wait=wait)) == (422, "Invalid")
    assert code(pod.post(b" " * (4 * 1024 * 1024 + 1))) == (413, "TooLarge")
    # Nothing of it is bound.
    assert pod.readyz() == 200
    assert not list((pod.folder / "bound").iterdir())


def test_killed_in_the_middle_the_next_one_takes_the_session_up(pod: WarmPod) -> None:
    process = pod.start_warm()
    assert pod.bind(gated(pod)).json() == {"state": "Preparing"}
    wait_until((pod.folder / "runner/workspace/begun").exists)
    process.kill()
    finish(process)
    (pod.folder / "runner/workspace/begun").unlink()
    pod.model.speaks.clear()

    process = pod.start()
    # Nobody binds again; the setup is run again in a workspace that was made anew.
    wait_until((pod.folder / "runner/workspace/begun").exists)
    (pod.folder / "runner/workspace/go").touch()
    wait_until(lambda: pod.readyz() == 200)
    assert pod.bind(gated(pod)).json() == {"state": "Ready"}
    assert code(pod.bind(request(pod, uid="other"))) == (409, "BoundToAnother")
    pod.model.speaks.set()
    said = finish(process)
    assert process.returncode == 0, said
    assert pod.termination()["outcome"] == "Solved"


def test_what_was_kept_is_taken_before_a_request_can_come_in(pod: WarmPod) -> None:
    """A bind that came between listening and taking it up was taken as the first, and the agent failed."""
    body = json.dumps(request(pod)).encode()
    assert Binding(pod.folder).offer(body)
    again = Binding(pod.folder)
    assert again.taken
    assert again.offer(body)
    assert not again.offer(json.dumps(request(pod, uid="other")).encode())


def test_a_runner_that_restarts_is_told_the_environment_again(pod: WarmPod) -> None:
    process = pod.start_warm()
    pod.model.speaks.clear()
    assert pod.bind(request(pod), wait=10).json() == {"state": "Ready"}
    assert pod.model.asked.wait(WAIT_SECONDS)
    pod.runner.kill()
    pod.runner.start()
    pod.model.speaks.set()
    said = finish(process)
    assert process.returncode == 0, said
    assert (pod.termination()["outcome"], pod.termination()["reason"]) == ("Solved", "CheckPassed")
    assert "session_resumed" in pod.events()


def test_without_a_runner_no_session_is_asked_for(pod: WarmPod) -> None:
    pod.start_warm()
    pod.runner.kill()
    assert pod.readyz() == 503
    pod.runner.start()
    assert pod.readyz() == 200


def test_a_failure_while_preparing_ends_with_the_usual_message(pod: WarmPod) -> None:
    process = pod.start_warm()
    reply = pod.bind(request(pod) | {"workspaceSource": None}, wait=10)
    assert reply.json() == {"state": "Finished"}
    said = finish(process)
    assert process.returncode == 0, said
    assert pod.termination()["reason"] == "WorkspaceUnreachable"


def test_stopped_before_it_has_a_session_it_just_ends(pod: WarmPod) -> None:
    process = pod.start_warm()
    process.send_signal(signal.SIGTERM)
    said = finish(process)
    assert process.returncode == 0, said
    assert not (pod.folder / "termination-log").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("DSPY_AGENT_BIND_TOKEN_SHA256", "abc"), ("DSPY_AGENT_BOUND_DIR", "/no/such/folder")]
)
def test_a_wrong_setting_is_named(name: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    environment = {
        "DSPY_AGENT_RUNNER_TOKEN_FILE": str(tmp_path / "token"),
        "DSPY_AGENT_REDDB_URL": "redis://127.0.0.1:1",
        "DSPY_AGENT_REDDB_HTTP_URL": "http://127.0.0.1:1",
        "DSPY_AGENT_BIND_TOKEN_SHA256": "0" * 64,
        "DSPY_AGENT_BOUND_DIR": str(tmp_path),
    } | {name: value}
    done = subprocess.run(
        [sys.executable, "-m", "dspy_agent.cli", "warm"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert name in done.stderr
