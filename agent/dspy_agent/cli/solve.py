"""`dspy-agent solve`: repair a repository of this machine. Exit 0 solved, 1 not solved, 2 usage or environment."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dspy_agent import narrate
from dspy_agent.cli import sentence
from dspy_agent.cli.apply import Contents, apply_edits
from dspy_agent.core.budget import Budget, Limits
from dspy_agent.core.events import EventLog, JsonlLog, MemoryLog
from dspy_agent.core.journal import Journal
from dspy_agent.core.outcome import Outcome
from dspy_agent.core.policy import Task
from dspy_agent.core.runner import Runner
from dspy_agent.core.session import TaskRun, started_data
from dspy_agent.core.tools import ToolContext
from dspy_agent.core.tools.arguments import MAX_SECONDS
from dspy_agent.core.workspace import Workspace
from dspy_agent.errors import DspyAgentError, SessionError, UsageError
from dspy_agent.local_runner import local_runner
from dspy_agent.policies import equip
from dspy_agent.sources.local import left_out, pack_repository

EXIT_CODES = {"Solved": 0, "Unsolved": 1, "Error": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repo", type=Path, required=True, metavar="DIR", help="the repository; it is copied"
    )
    parser.add_argument(
        "--check", required=True, metavar="CMD", help="exits 0 once solved; run without a shell"
    )
    parser.add_argument("--prompt", default="Make the check pass.", help="what is wrong, for policy llm")
    parser.add_argument("--policy", default="search", help="search (default; no model) or llm")
    parser.add_argument("--endpoint", metavar="URL", help="llm: base URL of an OpenAI-compatible endpoint")
    parser.add_argument("--model", help="llm: name of the model")
    parser.add_argument("--api-key-env", metavar="NAME", help="llm: environment variable that holds the key")
    parser.add_argument(
        "--budget-seconds",
        type=_seconds,
        default=300,
        metavar="N",
        help="default 300; the last check may take its own timeout beyond",
    )
    parser.add_argument("--budget-turns", type=_turns, metavar="N", help="completions or trials at most")
    parser.add_argument(
        "--check-timeout-seconds", type=_seconds, default=120, metavar="N", help="default 120"
    )
    parser.add_argument(
        "--protect", action="append", default=[], metavar="GLOB", help="never edited; repeatable"
    )
    parser.add_argument("--events", type=Path, metavar="FILE", help="keep the event log (JSON lines)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--apply", action="store_true", help="write the repair into the repository")


def main(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    try:
        repaired = _solve(arguments)
    except (DspyAgentError, OSError) as error:
        if arguments.json:
            seconds = time.monotonic() - started
            _print(Outcome("Error", type(error).__name__, sentence(error), seconds=seconds), as_json=True)
        raise
    # Before anything is written: a repair is not lost when the repository cannot take it.
    _print(repaired.outcome, arguments.json)
    if arguments.apply and repaired.outcome.outcome == "Solved":
        apply_edits(repaired.repo, repaired.edits, repaired.originals)
    return EXIT_CODES[repaired.outcome.outcome]


@dataclass(frozen=True)
class _Repaired:
    """How it ended, and what `--apply` needs."""

    repo: Path
    outcome: Outcome
    edits: Contents
    originals: Contents


def _solve(arguments: argparse.Namespace) -> _Repaired:
    repo = arguments.repo.resolve()
    if not repo.is_dir():
        raise UsageError(f"--repo {arguments.repo} is not a folder.")
    task = Task(
        prompt=arguments.prompt,
        check=_check(arguments.check, repo),
        check_timeout_seconds=arguments.check_timeout_seconds,
        protected_paths=tuple(arguments.protect),
    )
    options = _policy_options(arguments)
    equipment = equip(arguments.policy, options)
    log: EventLog = JsonlLog(_fresh(arguments.events)) if arguments.events else MemoryLog()
    budget = Budget(Limits(turns=arguments.budget_turns, seconds=arguments.budget_seconds))
    journal = Journal(log, lambda: budget.seconds)
    journal.listen(lambda event: print(narrate.line(event), file=sys.stderr, flush=True))
    journal.append("session_started", started_data(arguments.policy, task, budget.limits))
    with local_runner() as runner:
        workspace = _workspace(runner, repo, journal)
        context = ToolContext(task, workspace, os.cpu_count() or 1, seconds_left=lambda: budget.seconds_left)
        run = TaskRun(equipment.policy, equipment.tools, context, journal, budget, lambda _: None)
        outcome = _outcome(run)
        edits = dict(workspace.edits)
        return _Repaired(repo, outcome, edits, {path: workspace.original(path) for path in edits})


def _workspace(runner: Runner, repo: Path, journal: Journal) -> Workspace:
    packed = pack_repository(repo)
    with packed.archive:
        runner.put_archive(packed.archive)
    source = {
        "source": str(repo),
        "files": packed.files,
        "bytes": packed.bytes,
        "skipped": packed.skipped[:20],
    }
    journal.append("workspace_ready", source)
    return Workspace(runner, packed.links)


def _outcome(run: TaskRun) -> Outcome:
    try:
        outcome = run.run()
    except SessionError as error:
        outcome = Outcome("Error", error.reason, str(error), seconds=run.budget.seconds)
    run.journal.append("session_finished", outcome.event_data())
    return outcome


def _check(text: str, repo: Path) -> tuple[str, ...]:
    """The check as an argument array. A program in a left-out folder (a virtual environment) is named absolutely."""
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--check cannot be split into arguments: {error}.") from error
    if not argv:
        raise UsageError("--check is empty; give the command that exits 0 once the task is solved.")
    program = repo / argv[0]
    if "/" in argv[0] and any(left_out(parent) for parent in program.parents if parent.is_relative_to(repo)):
        argv[0] = str(program)
    return tuple(argv)


def _policy_options(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.policy != "llm":
        return {}
    if not arguments.endpoint or not arguments.model:
        raise UsageError("--policy llm needs --endpoint and --model.")
    key = os.environ.get(arguments.api_key_env) if arguments.api_key_env else None
    if arguments.api_key_env and not key:
        raise UsageError(f"--api-key-env names {arguments.api_key_env}, which is not set.")
    return {"endpoint": arguments.endpoint, "model": arguments.model, "apiKey": key}


def _seconds(text: str) -> float:
    """A number above 0, at most as long as the runner lets a command run."""
    seconds = float(text)
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {MAX_SECONDS:g}")
    return seconds


def _turns(text: str) -> int:
    turns = int(text)
    if turns < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return turns


def _fresh(path: Path) -> Path:
    if path.exists() and path.stat().st_size:
        raise UsageError(f"--events {path} exists; name a new file.")
    return path


def _print(outcome: Outcome, as_json: bool) -> None:
    if not as_json:
        print(outcome.patch or outcome.message, flush=True)
        return
    fields = {
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "message": outcome.message,
        "patch": outcome.patch,
        "check_exit_code": outcome.check_exit_code,
        "candidates_run": outcome.candidates_run,
        "seconds": round(outcome.seconds, 3),
    }
    print(json.dumps(fields), flush=True)
