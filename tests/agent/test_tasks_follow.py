"""Following a task whose stream breaks off, by a server that plays one; and reaching it through kubectl."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from dspy_agent.cli.tasks_follow import exit_code, follow
from dspy_agent.cli.tasks_view import plain, story, table
from dspy_agent.clients import orchestrator as client
from dspy_agent.clients.orchestrator import Orchestrator, TaskEvent, server_sent
from dspy_agent.errors import UsageError

from tests.agent.conftest import write_files

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
NEXT_LINE = "\x85"  # ends a line for Python's splitlines, and for httpx
TASK: dict[str, Any] = {"id": ID, "state": "Running", "class": "Short", "attempts": 1, "max_attempts": 3}
KUBECTL = """#!{python}
import json, sys, time
words = sys.argv[1:]
if words[0] == "port-forward":
    assert "service/dspy-agent-orchestrator" in words and ":9097" in words, words
    print("Forwarding from 127.0.0.1:{port} -> 9097", flush=True)
    time.sleep(60)
assert words[:3] == ["get", "secrets", "dspy-agent-orchestrator-token"], words
print(json.dumps({secret}))
"""


class Clock:
    """In place of module time: stands still but for what is said to have passed."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Player(BaseHTTPRequestHandler):
    """Answers each request with the next of `acts`: a status, and what a stream or a body says."""

    content_type: ClassVar[str] = "text/event-stream"
    clock: ClassVar[Clock] = Clock()
    takes_seconds: ClassVar[float] = 0.0
    acts: ClassVar[list[tuple[int, str]]] = []
    heard: ClassVar[list[tuple[str | None, str | None]]] = []

    def do_GET(self) -> None:
        self.heard.append((self.headers["Last-Event-ID"], self.headers["Authorization"]))
        status, text = self.acts.pop(0)
        self.clock.sleep(self.takes_seconds)
        self.send_response(status)
        self.send_header("Content-Type", self.content_type)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Silent."""


@contextmanager
def playing(*acts: tuple[int, str]) -> Iterator[ThreadingHTTPServer]:
    Player.acts, Player.heard = list(acts), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Player) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def event(name: str, event_id: str, data: dict[str, Any]) -> str:
    return f"event: {name}\nid: {event_id}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def error(code: str) -> str:
    return json.dumps({"error": {"code": code, "message": "A sentence."}})


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.0)


def test_a_stream_that_breaks_off_goes_on_where_it_was() -> None:
    acts = (
        (
            200,
            ": following\n\n"
            + event("task", "a.0.0", TASK)
            + event("log", "a.1.4", {"offset": 0, "text": "one\n"}),
        ),
        (429, error("TooManyStreams")),
        (200, event("log", "a.1.8", {"offset": 4, "text": f"two{NEXT_LINE}"}) + "event: task\nid: b"),
        (200, event("end", "c.1.8", {"state": "Succeeded"})),
    )
    with playing(*acts) as server, Orchestrator(f"http://127.0.0.1:{server.server_port}", "t") as tasks:
        events = list(tasks.events(ID))
    assert [each.name for each in events] == ["task", "log", "log", "end"]
    assert "".join(each.data["text"] for each in events if each.name == "log") == f"one\ntwo{NEXT_LINE}"
    assert [last for last, _ in Player.heard] == [None, "a.1.4", "a.1.4", "a.1.8"]


def test_a_refusal_ends_it() -> None:
    with (
        playing((404, error("TaskNotFound"))) as server,
        Orchestrator(f"http://127.0.0.1:{server.server_port}", "t") as tasks,
        pytest.raises(UsageError, match=r"A sentence. \(TaskNotFound\)"),
    ):
        list(tasks.events(ID))


def test_who_stays_away_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "AWAY_SECONDS", 0.0)
    with Orchestrator("http://127.0.0.1:1", "t") as tasks, pytest.raises(UsageError, match="does not answer"):
        list(tasks.events(ID))


def test_a_quiet_task_is_followed_through_streams_that_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(client, "time", clock)
    monkeypatch.setattr(Player, "clock", clock)
    monkeypatch.setattr(Player, "takes_seconds", client.AWAY_SECONDS * 2 / 3)
    quiet, busy = (200, ": following\n\n: \n\n"), (503, error("Busy"))
    acts = (quiet, busy, quiet, quiet, busy, (200, event("end", "1", {"state": "Succeeded"})))
    with playing(*acts) as server, Orchestrator(f"http://127.0.0.1:{server.server_port}", "t") as tasks:
        assert [each.name for each in tasks.events(ID)] == ["end"]
    with (
        playing(quiet, busy, busy) as server,
        Orchestrator(f"http://127.0.0.1:{server.server_port}", "t") as tasks,
        pytest.raises(UsageError, match="does not answer"),
    ):
        list(tasks.events(ID))


def test_what_is_no_stream_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Player, "content_type", "text/html")
    with (
        playing((200, "<html>")) as server,
        Orchestrator(f"http://127.0.0.1:{server.server_port}", "t") as tasks,
        pytest.raises(UsageError, match="is this the orchestrator"),
    ):
        list(tasks.events(ID))


def test_events_in_pieces_and_with_carriage_returns() -> None:
    text = event("task", "1", {"a": "é"}).replace("\n", "\r\n").encode() + b": comment\n\ndata: {}\n\n"
    pieces = [text[i : i + 1] for i in range(len(text))]
    assert list(server_sent(pieces)) == [("task", "1", '{"a": "é"}'.encode()), ("", "", b"{}")]


def test_tail_shows_a_log_as_it_comes_and_not_twice(tmp_path: Path) -> None:
    result = {
        "exit_code": 7,
        "stdout": "hel",
        "stdout_bytes": 6,
        "stdout_truncated": True,
        "stderr": "a warning\n",
    }
    ended = {**TASK, "state": "Failed", "result": result}
    acts = (
        event("task", "1", TASK),
        event("log", "2", {"offset": 0, "text": "hello\n"}),
        event("task", "3", ended),
        event("end", "4", {"state": "Failed"}),
    )
    with playing((200, "".join(acts))) as server:
        token = base64.b64encode(b"the-token\n").decode()
        program = KUBECTL.format(
            python=sys.executable, port=server.server_port, secret={"data": {"token": token}}
        )
        write_files(tmp_path, {"kubectl": program})
        (tmp_path / "kubectl").chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-m", "dspy_agent.cli", "tasks", "tail", ID],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (done.returncode, done.stdout) == (7, "hello\n"), done.stderr
    said = "Running\nFailed, exit code 7\na warning\n[stdout: 3 of 6 bytes were kept]\n"
    assert done.stderr == said
    assert Player.heard == [(None, "Bearer the-token")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_is_kept_from_orders(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile, harmless = "é\t\x1b]0;owned\x07\x9b2J\r\n", "é\t\\x1b]0;owned\\x07\\x9b2J\\r\n"
    ended = {**TASK, "state": "Succeeded", "result": {"exit_code": 0, "stdout": hostile, "stderr": hostile}}
    at_the_end = [TaskEvent("task", ended), TaskEvent("end", {"state": "Succeeded"})]
    meanwhile = [TaskEvent("log", {"offset": 0, "text": hostile}), *at_the_end]
    for events in (at_the_end, meanwhile):
        follow(events, as_json=False)
        plainly = capsys.readouterr()
        assert plainly.out == hostile
        assert hostile in plainly.err
        with monkeypatch.context() as patched:
            out, err = Terminal(), Terminal()
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            follow(events, as_json=False)
        assert out.getvalue() == harmless
        assert err.getvalue() == f"Succeeded, exit code 0\n{harmless}"


def test_a_story_gives_a_terminal_no_orders() -> None:
    result = {"exit_code": 0, "stdout": "a\tb\n\x1b[2Jc\n", "stderr": "\x9b2J"}
    text = story({**TASK, "state": "Succeeded", "result": result})
    assert text.endswith("== stdout\na\tb\n\\x1b[2Jc\n\n== stderr\n\\x9b2J")


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({"state": "Succeeded", "scope": True}, 0),
        ({"state": "Cancelled"}, 125),
        ({"state": "Dead", "error": {}}, 125),
        ({}, 125),
        ({"state": "Failed", "result": {"exit_code": None, "signal": 9}}, 137),
        ({"state": "Succeeded", "result": {"exit_code": 0, "signal": None}}, 0),
    ],
)
def test_exit_codes(task: dict[str, Any], code: int) -> None:
    assert exit_code(task) == code


def test_a_story_with_everything() -> None:
    task = {
        **TASK,
        "state": "Waiting",
        "tenant": "team-a",
        "argv": ["sh", "-c", "exit 3"],
        "limit": {"key": "gpu", "max": 2},
        "children": {"open": 2, "succeeded": 1, "failed": 0},
        "budget_ms": 60_000,
        "spent_ms": 30_000,
        "created_at": "2026-01-02T03:04:05.123456789Z",
        "history": [
            {
                "number": 1,
                "token": 17,
                "place": "http://runner",
                "started_at": "2026-01-02T03:04:05Z",
                "ended_at": "2026-01-02T03:05:45Z",
                "error": {"code": "RunnerLost", "message": "It left.\x1b[2J"},
            }
        ],
    }
    text = story(task)
    for part in (
        "Waiting, for 2 children",
        "gpu: 2 at once",
        "30s of 60s spent",
        "2 open, 1 succeeded, 0 failed",
        r"1. http://runner at 03:04:05 for 100s RunnerLost: It left.\x1b[2J",
    ):
        assert part in text
    assert "team-a" in table([task])
    assert table([]) == "No tasks."
    assert plain("a\tb\u202e") == r"a\tb\u202e"
