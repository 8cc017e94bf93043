"""Drives policy.search with the real tools on the runner without a sandbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dspy_agent.clients.fake_runner import FakeRunner
from dspy_agent.core.policy import Context, Finish, Observation, Task, ToolCall
from dspy_agent.core.tools import ToolContext, default_tools
from dspy_agent.core.workspace import Workspace
from dspy_agent.errors import CannotStart, RunnerRequestError, ToolError
from dspy_agent.policies.search import SearchPolicy


@dataclass
class Session:
    """One finished repair: why it ended, the patch, and every call with its observation."""

    finish: Finish
    patch: str
    steps: list[tuple[ToolCall, Observation]] = field(default_factory=list)


def repair(
    root: Path,
    files: dict[str, str],
    check: tuple[str, ...],
    *,
    limit: int = 600,
    protected: tuple[str, ...] = (),
    kind: type[FakeRunner] = FakeRunner,
) -> Session:
    """Run the policy on the files until it finishes."""
    runner = kind(root / "runner")
    for path, content in files.items():
        runner.write_file(path, content.encode())
    task = Task("Make the check pass.", check, check_timeout_seconds=30, protected_paths=protected)
    workspace = Workspace(runner)
    context, tools = ToolContext(task, workspace), default_tools()
    session = Session(Finish("PolicyGaveUp", "not run"), "")
    steps = SearchPolicy(limit).steps(task, Context({}))
    try:
        call = next(steps)
        while True:
            try:
                observation = Observation(True, tools[call.tool].run(context, call.arguments))
            except (ToolError, CannotStart, RunnerRequestError) as error:
                observation = Observation(False, {"code": error.code, "message": str(error)})
            session.steps.append((call, observation))
            call = steps.send(observation)
    except StopIteration as stop:
        session.finish = stop.value
    session.patch = workspace.diff().patch
    return session
