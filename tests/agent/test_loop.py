"""The loop: what it records, what it charges, and that a restart repeats instead of running again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest
from dspy_agent.clients.fake_runner import FakeRunner
from dspy_agent.core.budget import Budget, Limits
from dspy_agent.core.events import EventLog, JsonlLog, MemoryLog
from dspy_agent.core.journal import Journal
from dspy_agent.core.loop import Loop
from dspy_agent.core.outcome import Outcome
from dspy_agent.core.policy import Context, Finish, Task, ToolCall
from dspy_agent.core.runner import Command, Runner
from dspy_agent.core.session import TaskRun
from dspy_agent.core.tools import Tool, ToolContext, default_tools
from dspy_agent.core.workspace import Workspace
from dspy_agent.errors import CheckAlreadyPasses, CheckTimedOut, ReplayMismatch, RunnerLost

from tests.agent.conftest import FIXED, load, make_tool_context, write_files
from tests.agent.scripts import Script, call

NO_LIMITS = Limits()
CONTEXT = Context(check_before={})
FIX = call("edit", path="last.py", old="[len(items)]", new="[len(items) - 1]")


def run(script: Script, context: ToolContext, log: EventLog, limits: Limits = NO_LIMITS) -> Finish:
    return Loop(default_tools(), context, Journal(log), Budget(limits)).run(script, CONTEXT)


def run_task(script: Script, context: ToolContext, log: EventLog) -> Outcome:
    stored: list[str] = []

    def store(patch: str) -> str:
        stored.append(patch)
        return f"ref:{len(patch)}"

    return TaskRun(script, default_tools(), context, Journal(log), Budget(Limits()), store).run()


def test_one_event_per_step(tool_context: ToolContext) -> None:
    log = MemoryLog()
    script = Script([call("read_file", path="last.py"), FIX, call("run_check")])
    assert run(script, tool_context, log) == Finish("Done", "The script ended.")
    events = log.read(0, 10)
    assert [(event.seq, event.type, event.data["tool"]) for event in events] == [
        (1, "tool_call", "read_file"),
        (2, "edit", "edit"),
        (3, "tool_call", "run_check"),
    ]
    assert script.observed[2].value["exit_code"] == 0


def test_a_failed_call_is_an_observation(tool_context: ToolContext) -> None:
    script = Script([call("read_file", path="absent"), call("fly"), call("run", argv=["/no/such/program"])])
    run(script, tool_context, MemoryLog())
    assert [observation.value["code"] for observation in script.observed] == [
        "FileNotFound",
        "UnknownTool",
        "CannotStart",
    ]


def test_a_restart_repeats_the_log_and_reapplies_edits(tmp_path: Path, repo: Path) -> None:
    log = MemoryLog()
    count = call("run", argv=["sh", "-c", f"echo x >> {tmp_path}/ran"])
    before = make_tool_context(FakeRunner(tmp_path / "first"), repo)
    run(Script([count, FIX, call("trial", candidates=[{"edits": []}])]), before, log)

    after = make_tool_context(FakeRunner(tmp_path / "second"), repo)
    script = Script([count, FIX, call("trial", candidates=[{"edits": []}]), call("run_check")])
    run(script, after, log)

    assert (tmp_path / "ran").read_text() == "x\n"
    assert after.workspace.read("last.py").decode() == FIXED
    assert script.observed[3].value["exit_code"] == 0
    assert after.candidates_run == 2
    assert len(log.read(0, 100)) == 4


class EagerScript(Script):
    """Its first call may run beside the check."""

    def first_call(self, task: Task) -> ToolCall:
        del task
        return self.calls[0]


def test_an_eager_first_call_runs_once_and_is_recorded_after_the_check(tmp_path: Path, repo: Path) -> None:
    log = MemoryLog()
    count = call("run", argv=["sh", "-c", f"echo x >> {tmp_path}/ran"])
    for name in ("first", "second"):
        script = EagerScript([count, FIX])
        assert run_task(script, make_tool_context(FakeRunner(tmp_path / name), repo), log).outcome == "Solved"
        assert script.observed[0].value["exit_code"] == 0
    assert (tmp_path / "ran").read_text() == "x\n"
    assert [event.type for event in log.read(0, 9)] == ["check_before", "tool_call", "edit", "check_after"]


def test_what_ends_an_eager_first_call_ends_the_session(fake_runner: FakeRunner, repo: Path) -> None:
    class Lost(Tool):
        name = "lost"
        description = "The runner is gone."
        parameters: ClassVar[Mapping[str, Any]] = {}

        def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
            raise RunnerLost("gone")

    context = make_tool_context(fake_runner, repo)
    script = EagerScript([call("lost")])
    task = TaskRun(script, {"lost": Lost()}, context, Journal(MemoryLog()), Budget(Limits()), lambda _: None)
    with pytest.raises(RunnerLost):
        task.run()


def test_a_policy_that_does_not_repeat_itself_is_stopped(tool_context: ToolContext) -> None:
    log = MemoryLog()
    run(Script([call("read_file", path="last.py")]), tool_context, log)
    with pytest.raises(ReplayMismatch, match="does not repeat"):
        run(Script([call("read_file", path="README.md")]), tool_context, log)
    with pytest.raises(ReplayMismatch, match="edit"):
        run(Script([FIX]), tool_context, log)


def test_long_arguments_are_shortened_but_recognised(tool_context: ToolContext) -> None:
    log = MemoryLog()
    script = [call("trial", candidates=[{"edits": [{"path": "last.py", "content": "#" * 50_000}]}])]
    run(Script(script), tool_context, log)
    assert len(log.read(0, 1)[0].to_json()) < 5000
    run(Script(script), tool_context, log)
    assert len(log.read(0, 10)) == 1


def test_budget_ends_the_session_between_steps(tool_context: ToolContext) -> None:
    script = Script([call("trial", candidates=[{"edits": []}])] * 5)
    finish = run(script, tool_context, MemoryLog(), Limits(turns=2))
    assert finish.reason == "BudgetExhausted"
    assert "budget.turns" in finish.summary
    assert len(script.observed) == 2


def test_each_limit_names_itself() -> None:
    clock = iter([0.0, 5.0, 5.0, 5.0]).__next__
    assert "10 seconds" not in (Budget(Limits(seconds=10), clock=clock).exhausted() or "")
    budget = Budget(Limits(tokens=10, usd=Decimal("0.5")))
    budget.charge(tokens=9, usd=Decimal("0.4"))
    assert budget.exhausted() is None
    budget.charge(usd=Decimal("0.1"))
    assert "USD" in (budget.exhausted() or "")
    budget.charge(tokens=1)
    assert "tokens" in (budget.exhausted() or "")


def test_time_spent_before_a_restart_counts() -> None:
    assert "seconds" in (Budget(Limits(seconds=10), spent_seconds=11).exhausted() or "")


def test_a_task_from_check_to_check(tool_context: ToolContext) -> None:
    log = MemoryLog()
    outcome = run_task(Script([FIX], Finish("Done", "Fixed the index.")), tool_context, log)
    assert (outcome.outcome, outcome.reason, outcome.check_exit_code) == ("Solved", "CheckPassed", 0)
    assert outcome.patch_ref == f"ref:{len(outcome.patch)}"
    assert [event.type for event in log.read(0, 10)] == ["check_before", "edit", "check_after"]


def test_a_policy_that_claims_too_much_did_not_solve(tool_context: ToolContext) -> None:
    outcome = run_task(Script([]), tool_context, MemoryLog())
    assert (outcome.outcome, outcome.reason, outcome.patch_ref) == ("Unsolved", "PolicyGaveUp", None)


def test_a_check_that_passes_already_is_an_error_also_after_a_restart(
    fake_runner: FakeRunner, repo: Path
) -> None:
    write_files(repo, {"last.py": FIXED})
    log = MemoryLog()
    for _ in range(2):
        with pytest.raises(CheckAlreadyPasses):
            run_task(Script([]), make_tool_context(fake_runner, repo), log)
    assert len(log.read(0, 10)) == 1


def test_a_protected_file_that_changed_all_the_same_spoils_the_result(any_runner: Runner, repo: Path) -> None:
    """A link that the setup command made is not among those that the workspace came with."""
    write_files(repo, {"tests/check.py": "raise SystemExit(1)\n"})
    links = load(any_runner, repo)
    any_runner.execute(Command(("ln", "-s", "tests", "linked")))
    task = Task("", (sys.executable, "tests/check.py"), 30, protected_paths=("tests/**",))
    script = Script([call("edit", path="linked/check.py", content="")], Finish("Done", "Fixed."))
    context = ToolContext(task, Workspace(any_runner, links))
    outcome = run_task(script, context, MemoryLog())
    assert (outcome.outcome, outcome.reason) == ("Unsolved", "ProtectedPathChanged")
    assert "tests/check.py" in outcome.message
    assert "a/tests/check.py" in outcome.patch


def test_the_first_check_is_within_the_budget(fake_runner: FakeRunner, repo: Path) -> None:
    context = make_tool_context(fake_runner, repo)
    context.task = replace(context.task, check=("sleep", "60"), check_timeout_seconds=50)
    budget = Budget(Limits(seconds=0.5))
    context.seconds_left = lambda: budget.seconds_left
    log = MemoryLog()
    for _ in range(2):
        task = TaskRun(Script([]), default_tools(), context, Journal(log), budget, lambda _: None)
        with pytest.raises(CheckTimedOut, match=r"budget of 0\.5 s"):
            task.run()


def test_the_patch_has_nothing_that_the_check_left(fake_runner: FakeRunner, repo: Path) -> None:
    load(fake_runner, repo)
    context = make_tool_context(fake_runner, repo)
    outcome = run_task(Script([call("run_check"), FIX]), context, MemoryLog())
    assert outcome.patch.count("diff --git") == 1


def test_the_jsonl_log_survives_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = JsonlLog(path)
    journal = Journal(log)
    journal.append("session_started", {"a": 1})
    journal.append("edit", {"b": "ü"})
    log.close()
    with path.open("ab") as file:
        file.write(b'{"seq":3,"ty')
    again = JsonlLog(path)
    assert [event.seq for event in again.read(0, 10)] == [1, 2]
    assert Journal(again).seq == 2
    Journal(again).recorded("session_started")
    again.close()


def test_termination_message_fits() -> None:
    message = Outcome("Error", "SetupFailed", "ü\n" * 5000).termination_message()
    assert len(message.encode()) <= 4096
    assert '"outcome": "Error"' in message
