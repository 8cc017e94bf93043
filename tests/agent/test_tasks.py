"""`dspy-agent tasks` on the real orchestrator, with the real RedDB and the real env runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import binary
from tests.agent.services import Service, orchestrator, reddb, runner

pytestmark = pytest.mark.timeout(120)
TOKEN = "orchestrator-test-token"
RUNNER_TOKEN = "runner-test-token"
SLEEP = ("sleep", "600")


@dataclass
class Tasks:
    """The command line, against one orchestrator."""

    service: Service

    def __call__(self, *words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs to its end."""
        return subprocess.run(
            [sys.executable, "-m", "dspy_agent.cli", "tasks", *words],
            env=self.environment(**environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def environment(self, **more: str) -> dict[str, str]:
        ours = {"DSPY_AGENT_ORCHESTRATOR_URL": self.service.url, "DSPY_AGENT_ORCHESTRATOR_TOKEN": TOKEN}
        return {**os.environ, **ours, **more}

    def submit(self, *words: str) -> str:
        done = self("submit", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, task_id: str) -> dict[str, Any]:
        task: dict[str, Any] = json.loads(self("show", task_id, "-o", "json").stdout)
        return task


@pytest.fixture(scope="module")
def tasks(
    tmp_path_factory: pytest.TempPathFactory, runner_binary: Path, reddb_binary: Path
) -> Iterator[Tasks]:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "store").mkdir()
    store, place = (
        reddb(reddb_binary, folder / "store"),
        runner(runner_binary, folder / "runner", RUNNER_TOKEN),
    )
    service = orchestrator(
        binary("ORCHESTRATOR_BIN", "orchestrator"), folder / "orchestrator", store, place, TOKEN
    )
    with ExitStack() as running:
        for each in (store, place, service):
            running.callback(each.kill)
            each.start()
        yield Tasks(service)


def test_waiting_gives_the_commands_output_and_exit_code(tasks: Tasks) -> None:
    script = "read line; echo out $line $NAME; echo err >&2; exit 3"
    flags = ("--wait", "--stdin", "-", "--env", "NAME=value", "--class", "Interactive")
    done = tasks("submit", *flags, "--", "sh", "-c", script, "--", "-x", stdin="in\n")
    assert (done.returncode, done.stdout) == (3, "out in value\n"), done.stderr
    assert "err\n" in done.stderr
    assert "Failed, exit code 3" in done.stderr
    as_json = tasks("submit", "--wait", "-o", "json", "--", "true")
    assert (as_json.returncode, json.loads(as_json.stdout)["state"]) == (0, "Succeeded")


def test_a_signal_is_128_and_its_number(tasks: Tasks) -> None:
    assert tasks("submit", "--wait", "--", "sh", "-c", "kill -TERM $$").returncode == 128 + 15


def test_a_command_that_cannot_start_has_no_exit_code(tasks: Tasks) -> None:
    done = tasks("submit", "--wait", "--", "/no/such/program")
    assert done.returncode == 125
    assert "/no/such/program" in done.stderr


def test_a_tail_ends_with_the_task_that_is_cancelled(tasks: Tasks) -> None:
    task = tasks.submit("--timeout", "1h", "--", *SLEEP)
    argv = [sys.executable, "-m", "dspy_agent.cli", "tasks", "tail", task]
    with subprocess.Popen(argv, env=tasks.environment(), stderr=subprocess.PIPE, text=True) as tail:
        assert tail.stderr is not None
        assert any("Running" in line for line in tail.stderr)
        cancelled = tasks("cancel", task)
        assert cancelled.stdout == f"{task} Cancelled\n"
        assert "Cancelled" in tail.stderr.read()
        assert tail.wait() == 125


def test_a_task_that_has_finished_cannot_be_cancelled(tasks: Tasks) -> None:
    task = tasks.submit("--", "true")
    tasks("tail", task)
    refused = tasks("cancel", task)
    assert refused.returncode == 2
    assert "has finished" in refused.stderr


def test_a_listing_reads_at_a_glance(tasks: Tasks) -> None:
    done = tasks.submit("--", "printf", "\033[31m%s", "a b")
    tasks("tail", done)
    running = tasks.submit("--class", "Long", "--", *SLEEP)
    lines = tasks("list").stdout.splitlines()
    assert lines[0].split()[:2] == ["ID", "STATE"]
    assert "TENANT" not in lines[0]
    (row,) = [line for line in lines if done in line]
    assert "Succeeded" in row
    assert r"\x1b" in row, "a terminal's orders are shown, not followed"
    assert "\033" not in row
    long = tasks("list", "--class", "Long", "-n", "1", "-o", "json").stdout
    assert [task["id"] for task in json.loads(long)["tasks"]] == [running]
    assert done not in tasks("list", "--state", "Running").stdout
    tasks("cancel", running)


def test_a_task_tells_all(tasks: Tasks) -> None:
    task = tasks.submit("--max-attempts", "2", "--timeout", "90s", "--", "sh", "-c", "echo hello; exit 1")
    tasks("tail", task)
    shown = tasks("show", task).stdout
    for part in (
        f"Task {task}: Failed, exit code 1",
        "sh -c 'echo hello; exit 1'",
        "1 of 2",
        "== stdout\nhello",
    ):
        assert part in shown


def test_several_are_changed_whatever_becomes_of_one(tasks: Tasks) -> None:
    first, second = (tasks.submit("--timeout", "1h", "--", *SLEEP) for _ in range(2))
    unknown = "01890a5d-ac96-774b-bcce-b302099a8057"
    done = tasks("cancel", first, unknown, second)
    assert done.returncode == 1
    assert done.stdout == f"{first} Cancelled\n{second} Cancelled\n"
    assert unknown in done.stderr
    for verb, said in (("retry", "not a dead letter"), ("close", "no open scope")):
        refused = tasks(verb, first)
        assert refused.returncode == 2
        assert said in refused.stderr


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["list"], {"DSPY_AGENT_ORCHESTRATOR_TOKEN": "wrong"}, "Unauthorized"),
        (["list"], {"DSPY_AGENT_ORCHESTRATOR_TOKEN": ""}, "--token-file"),
        (["list"], {"DSPY_AGENT_ORCHESTRATOR_URL": "localhost:1"}, "must begin with http"),
        (["list"], {"DSPY_AGENT_ORCHESTRATOR_URL": "http://127.0.0.1:1"}, "does not answer"),
        (["list", "-n", "0"], {}, "--limit"),
        (["show", "../dead-letters"], {}, "Invalid"),
        (["tail", "01890a5d-ac96-774b-bcce-b302099a8057"], {}, "TaskNotFound"),
        (["submit"], {}, "after --"),
        (["submit", "--env", "NAME", "--", "true"], {}, "NAME=VALUE"),
        (["submit", "--limit", "key=x", "--", "true"], {}, "whole number"),
        (["submit", "--slurm", "wrap=id", "--", "true"], {}, "--slurm"),
        (["submit", "--priority", "500", "--", "true"], {}, "priority"),
        (["submit", "--delay", "soon", "--", "true"], {}, "no time such as"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(
    tasks: Tasks, words: list[str], environment: dict[str, str], said: str
) -> None:
    done = tasks(*words, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
