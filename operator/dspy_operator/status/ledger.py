"""What the status of a task with many runs remembers of each: enough to go on after any restart, and no more.

A run is one index of `completions`, an attempt one pod for it. Runs are first started in the order of their indexes, so
that one number tells which have been; those that ended for good are two sets; only the ones in between have an entry
of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from dspy_operator.backoff import MAX_START_RETRIES
from dspy_operator.status.conditions import parse_time, timestamp
from dspy_operator.status.indexes import compress, expand
from dspy_operator.status.outcome import Kind, Outcome
from dspy_operator.store import Object

_RECENT_FAILURES = 10
_TAIL_CHARACTERS = 256


@dataclass(frozen=True)
class Run:
    """A run between its first attempt and its end.

    `started` and `ended` count attempts. Of those that ended, `failed` may have run the command and `unstarted` surely
    did not; the rest were given back. `last_end` is when the latest failure was, where anybody knows.
    """

    index: int
    started: int = 1
    ended: int = 0
    failed: int = 0
    unstarted: int = 0
    last_end: datetime | None = None


@dataclass
class Ledger:
    """All runs of one task. `started` of them have been, the first in order of their indexes."""

    completions: int
    started: int = 0
    completed: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    repeated: dict[int, Run] = field(default_factory=dict)
    attempts: int = 0
    failures: int = 0
    recent: list[Object] = field(default_factory=list)

    def open_run(self, index: int) -> Run | None:
        """The run where it has begun and not ended for good."""
        if index >= self.started or index in self.completed or index in self.failed:
            return None
        return self.repeated.get(index) or Run(index)

    def knows_end_of(self, index: int, attempt: int) -> bool:
        """Whether that attempt's end is recorded, so that its pod may go."""
        if index in self.completed or index in self.failed:
            return True
        run = self.repeated.get(index)
        return run is not None and attempt <= run.ended

    def start(self, index: int, attempt: int) -> None:
        """An attempt's pod is there. Heard of more than once, it counts once."""
        if attempt == 1:
            self.attempts += 1 if index >= self.started else 0
            self.started = max(self.started, index + 1)
            return
        run = self.open_run(index)
        if run is None or attempt <= run.started:
            return
        # Ends that were seen, and that nobody came to write down: they allowed this attempt.
        unwritten = attempt - 1 - run.ended
        self.attempts += attempt - run.started
        self.failures += unwritten
        self.repeated[index] = replace(run, started=attempt, ended=attempt - 1, failed=run.failed + unwritten)

    def end(self, index: int, outcome: Outcome, backoff_limit: int) -> None:
        """The attempt under way has ended so."""
        run = self.open_run(index)
        if run is None:
            return
        if outcome.kind is Kind.SUCCEEDED:
            self._conclude(index, self.completed)
            return
        ran = outcome.kind in (Kind.COMMAND, Kind.INTERRUPTED)
        self.failures += 1 if ran else 0
        run = replace(
            run,
            ended=run.started,
            failed=run.failed + (1 if ran else 0),
            unstarted=run.unstarted + (1 if outcome.kind is Kind.NOT_STARTED else 0),
            last_end=outcome.at,
        )
        self._remember(index, run.started, outcome)
        if outcome.kind is Kind.FATAL or run.failed > backoff_limit or run.unstarted > MAX_START_RETRIES:
            self._conclude(index, self.failed)
        else:
            self.repeated[index] = run

    def give_back(self, index: int) -> None:
        """The attempt under way is ended by us, at the user's wish: it counts as nothing."""
        run = self.open_run(index)
        if run is not None:
            self.repeated[index] = replace(run, ended=run.started, last_end=None)

    @property
    def concluded(self) -> bool:
        """Whether every run has ended for good."""
        return len(self.completed) + len(self.failed) == self.completions

    def _conclude(self, index: int, ended: set[int]) -> None:
        ended.add(index)
        self.repeated.pop(index, None)

    def _remember(self, index: int, attempt: int, outcome: Outcome) -> None:
        entry: Object = {
            "index": index,
            "attempt": attempt,
            "reason": outcome.reason,
            "message": outcome.message[:_TAIL_CHARACTERS],
        }
        report = outcome.report
        if report is not None and report.exit_code is not None:
            entry["exitCode"] = report.exit_code
        if report is not None and report.stderr_tail:
            entry["stderrTail"] = report.stderr_tail[-_TAIL_CHARACTERS:]
        self.recent = [*self.recent, entry][-_RECENT_FAILURES:]


def read(task: Object) -> Ledger:
    """The ledger that a task's status holds; a blank one for a task that has not begun."""
    status = task["status"]
    return Ledger(
        completions=task["spec"]["completions"],
        started=status.get("started", 0),
        completed=expand(status.get("completedIndexes", "")),
        failed=expand(status.get("failedIndexes", "")),
        repeated={entry["index"]: _run(entry) for entry in status.get("repeated", ())},
        attempts=status.get("attempts", 0),
        failures=status.get("failed", 0),
        recent=list(status.get("recentFailures", ())),
    )


def fields(ledger: Ledger, active: int) -> Object:
    """Status fields that hold the ledger; what is empty is left out."""
    made: Object = {
        "attempts": ledger.attempts,
        "active": active,
        "pending": ledger.completions - len(ledger.completed) - len(ledger.failed) - active,
        "succeeded": len(ledger.completed),
        "failed": ledger.failures,
        "started": ledger.started,
    }
    optional: Object = {
        "completedIndexes": compress(ledger.completed),
        "failedIndexes": compress(ledger.failed),
        "repeated": [_entry(ledger.repeated[index]) for index in sorted(ledger.repeated)],
        "recentFailures": ledger.recent,
    }
    return {**made, **{name: value for name, value in optional.items() if value}}


def _run(entry: Object) -> Run:
    last_end = entry.get("lastEnd")
    return Run(
        index=entry["index"],
        started=entry["started"],
        ended=entry["ended"],
        failed=entry["failed"],
        unstarted=entry["unstarted"],
        last_end=parse_time(last_end) if last_end else None,
    )


def _entry(run: Run) -> Object:
    made: Object = {
        "index": run.index,
        "started": run.started,
        "ended": run.ended,
        "failed": run.failed,
        "unstarted": run.unstarted,
    }
    return made if run.last_end is None else {**made, "lastEnd": timestamp(run.last_end)}
