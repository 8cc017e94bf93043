"""The committed contracts are what the code does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from dspy_agent import narrate
from dspy_agent.clients.fake_runner import FakeRunner
from dspy_agent.core.budget import Budget, Limits
from dspy_agent.core.events import Event, MemoryLog
from dspy_agent.core.journal import Journal
from dspy_agent.core.session import TaskRun
from dspy_agent.core.tools import default_tools
from dspy_agent.policies.search import SearchPolicy

from tests.agent.conftest import FIXED, ROOT, make_tool_context
from tests.agent.scripts import Script, call

CONTRACTS = ROOT / "contracts"
SCHEMA: dict[str, Any] = json.loads((CONTRACTS / "events/session-event.schema.json").read_text())
EXAMPLES = sorted((CONTRACTS / "events/examples").glob("session-event.*.json"))


def check(value: object) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(value)


def test_every_type_has_an_example() -> None:
    types = {json.loads(path.read_text())["type"] for path in EXAMPLES}
    assert types == set(SCHEMA["properties"]["type"]["enum"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_fit_and_come_back_unchanged(path: Path) -> None:
    value = json.loads(path.read_text())
    check(value)
    event = Event.from_json(path.read_text())
    assert json.loads(event.to_json()) == value
    assert narrate.line(event)


def test_a_wrong_event_is_refused() -> None:
    value = json.loads(EXAMPLES[0].read_text())
    for broken in ({**value, "type": "unknown"}, {**value, "seq": 0}, {**value, "data": {}}):
        with pytest.raises(jsonschema.ValidationError):
            check(broken)


def test_a_command_ends_in_every_way_that_the_runner_has() -> None:
    runner = yaml.safe_load((CONTRACTS / "http/env-runner.yaml").read_text())
    reasons = set(runner["components"]["schemas"]["Reason"]["enum"])
    assert set(SCHEMA["$defs"]["execution"]["properties"]["reason"]["enum"]) == reasons | {"CannotStart"}


def test_a_real_session_writes_what_the_schema_says(fake_runner: FakeRunner, repo: Path) -> None:
    log = MemoryLog()
    calls = [
        call("list_files"),
        call("read_file", path="absent"),
        call("trial", candidates=[{"edits": []}]),
        call("edit", path="last.py", content=FIXED),
    ]
    context = make_tool_context(fake_runner, repo)
    run = TaskRun(
        Script(calls),
        default_tools(),
        context,
        Journal(log),
        Budget(Limits()),
        lambda _: f"reddb://blobs/sha256/{'0' * 64}",
    )
    run.journal.append("session_finished", run.run().event_data())
    events = log.read(0, 100)
    assert len(events) == 7
    for event in events:
        check(json.loads(event.to_json()))
        assert narrate.line(event)


def test_the_schemas_defaults_are_the_codes() -> None:
    """The apiserver fills in what a policy holds, but not a policy that is absent: both must mean the same."""
    crd = yaml.safe_load((ROOT / "crds/dspyagent.io_agentsessions.yaml").read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    candidates = spec["policy"]["properties"]["search"]["properties"]["candidates"]
    assert candidates["default"] == SearchPolicy().limit


def test_the_openapi_export_is_current() -> None:
    argv = [sys.executable, "-m", "dspy_agent.cli", "openapi"]
    exported = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout
    assert exported == (CONTRACTS / "http/agent.yaml").read_text(), "run `make generate` and commit"
