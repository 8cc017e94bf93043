"""The life of a session in its pod: workspace → setup → ready → task → outcome, resumable at every point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dspy_agent.core.budget import Budget
from dspy_agent.core.events import EventLog
from dspy_agent.core.journal import Journal, Listener
from dspy_agent.core.outcome import Outcome
from dspy_agent.core.policy import Task
from dspy_agent.core.runner import Command, Runner
from dspy_agent.core.session import TaskRun, started_data
from dspy_agent.core.tools import ToolContext
from dspy_agent.core.workspace import Workspace
from dspy_agent.errors import (
    CannotStart,
    ReplayMismatch,
    RunnerError,
    RunnerLost,
    RunnerRequestError,
    SessionError,
    SetupFailed,
    StoreRefused,
    StoreUnreachable,
    WorkspaceInvalid,
)
from dspy_agent.pod.spec import SessionSpec
from dspy_agent.policies import Equipment, equip, require_prices
from dspy_agent.sources.fetch import Blobs, Places, fetch

ATTEMPTS = 3
SETUP_OUTPUT_CHARACTERS = 4000


@dataclass
class PodSession:
    """One session. `on_ready` is called when the workspace is ready, `listener` with every new event."""

    spec: SessionSpec
    runner: Runner
    log: EventLog
    blobs: Blobs
    places: Places
    runner_wait_seconds: float
    llm_api_key: str | None
    on_ready: Callable[[], None]
    listener: Listener
    equip: Callable[[str, Mapping[str, object]], Equipment] = equip

    def run(self) -> Outcome | None:
        """The outcome of the task; None for an interactive session, whose workspace is then ready.

        Raises LogFenced when another agent works on this session.
        """
        try:
            return self._recorded_outcome() or self._attempts()
        except SessionError as error:
            return self._failed(error.reason, str(error))
        except StoreUnreachable as error:
            # There is no log to write to: the termination message is all that is left.
            return Outcome("Error", "StoreUnreachable", str(error))
        except StoreRefused as error:
            # A blob may be refused that is too large, while the log works.
            return self._failed("StoreRefused", str(error))
        except ReplayMismatch as error:
            return Outcome("Error", "ReplayMismatch", str(error))
        except RunnerError as error:
            return self._failed("RunnerLost", str(error))

    def _attempts(self) -> Outcome | None:
        """A runner that restarts has lost its forks: begin again from the log, which repeats what was done."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self._attempt()
            except RunnerLost:
                self.runner.wait_ready(self.runner_wait_seconds)
        return self._attempt()

    def _attempt(self) -> Outcome | None:
        journal, budget = self._open_journal()
        journal.resume()
        equipment = self._equipment() if self.spec.task else None
        if not journal.recorded("session_started"):
            data = started_data(self.spec.policy, self.spec.task, self.spec.limits)
            journal.append("session_started", data)
        workspace = self._prepare(journal)
        self.on_ready()
        if self.spec.task is None or equipment is None:
            return None
        run = TaskRun(
            equipment.policy,
            equipment.tools,
            self._tool_context(self.spec.task, workspace, budget),
            journal,
            budget,
            self._store_patch,
        )
        outcome = run.run()
        journal.append("session_finished", outcome.event_data())
        return outcome

    def _prepare(self, journal: Journal) -> Workspace:
        """The workspace is made anew after every restart: edits are applied to it again from the log."""
        self.runner.wait_ready(self.runner_wait_seconds)
        source, packed = fetch(self.spec.workspace, self.places)
        try:
            with packed.archive:
                self.runner.put_archive(packed.archive)
        except RunnerRequestError as error:
            raise WorkspaceInvalid(f"The runner refused the workspace: {error}") from error
        self._set_up()
        workspace = Workspace(self.runner, packed.links)
        if not journal.recorded("workspace_ready"):
            skipped = packed.skipped[:20]
            data = {"source": source, "files": packed.files, "bytes": packed.bytes, "skipped": skipped}
            journal.append("workspace_ready", data)
        return workspace

    def _set_up(self) -> None:
        setup = self.spec.setup
        if setup is None:
            return
        try:
            result = self.runner.execute(Command(setup.command, setup.timeout_seconds))
        except CannotStart as error:
            raise SetupFailed(
                f"The setup command {list(setup.command)} cannot be started: {error}"
            ) from error
        if result.exit_code != 0:
            said = (result.stderr or result.stdout)[-SETUP_OUTPUT_CHARACTERS:].strip()
            how = f"exit code {result.exit_code}" if result.exit_code is not None else result.reason
            raise SetupFailed(f"The setup command {list(setup.command)} failed ({how}): {said}")

    def _tool_context(self, task: Task, workspace: Workspace, budget: Budget) -> ToolContext:
        concurrency = self.spec.policy_options.get("concurrency") or min(4, self.runner.max_concurrent())
        return ToolContext(task, workspace, int(concurrency), seconds_left=lambda: budget.seconds_left)

    def _open_journal(self) -> tuple[Journal, Budget]:
        journal = Journal(self.log)
        budget = Budget(self.spec.limits, journal.last.elapsed_seconds if journal.last else 0.0)
        journal.elapsed = lambda: budget.seconds
        journal.listen(self.listener)
        return journal, budget

    def _equipment(self) -> Equipment:
        require_prices(self.spec.policy, self.spec.policy_options, self.spec.limits)
        return self.equip(self.spec.policy, self._options())

    def _options(self) -> dict[str, object]:
        return {**self.spec.policy_options, "apiKey": self.llm_api_key}

    def _store_patch(self, patch: str) -> str:
        return f"reddb://blobs/sha256/{self.blobs.put(patch.encode())}"

    def _recorded_outcome(self) -> Outcome | None:
        """A crash between the last event and the exit: the outcome stands."""
        last = Journal(self.log).last
        if last is None or last.type != "session_finished":
            return None
        return Outcome(**last.data)

    def _failed(self, reason: str, message: str) -> Outcome:
        """Recorded if the store answers; the termination message tells the outcome either way."""
        try:
            journal, budget = self._open_journal()
            outcome = Outcome("Error", reason, message, seconds=budget.seconds)
            journal.abandon("session_finished", outcome.event_data())
        except (StoreUnreachable, StoreRefused):
            return Outcome("Error", reason, message)
        return outcome
