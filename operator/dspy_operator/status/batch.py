"""From the pods of a task with many runs to where each run stands. Pure: the ledger is brought up to date in place."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dspy_operator import backoff, names
from dspy_operator.status import pods
from dspy_operator.status.envtask import judge
from dspy_operator.status.ledger import Ledger, Run
from dspy_operator.status.outcome import Kind, Outcome, Progress, ours
from dspy_operator.store import Loss, Object

# Runs between two attempts each have an entry in the status: with more of them than this, nothing new is started.
MAX_REPEATED = 1000

# Index and attempt.
Attempt = tuple[int, int]


@dataclass
class Standing:
    """How the attempts stand that have pods, or had."""

    active: list[Attempt] = field(default_factory=list)
    leaving: set[int] = field(default_factory=set)  # runs given back whose pods are not gone yet
    overdue: list[tuple[Object, Outcome]] = field(default_factory=list)  # judged, but their pods live on
    fatal: Outcome | None = None  # of a spec with which no run can work
    waits_for: Progress | None = None  # what one of the active attempts waits for
    look_again_s: float | None = None

    def look_again_in(self, seconds: float | None) -> None:
        """Time alone changes something then, or earlier."""
        if seconds is not None:
            self.look_again_s = seconds if self.look_again_s is None else min(self.look_again_s, seconds)


def settle(
    task: Object, ledger: Ledger, seen: list[Object], losses: Mapping[Attempt, Loss], now: datetime
) -> Standing:
    """Enters every end that is not in the ledger yet, and tells what is under way."""
    standing = Standing()
    there = {_attempt_of(pod): pod for pod in seen}
    # In the order of attempts: the end of one comes before the start of the next.
    for attempt in sorted({*there, *losses}):
        if attempt in there:
            _settle_pod(task, ledger, there[attempt], standing, now)
        elif not ledger.knows_end_of(*attempt):
            _settle_loss(task, ledger, attempt, losses[attempt], standing)
    for run in _unaccounted(ledger, there):
        message = "The attempt's pod was deleted while no operator looked: its command may have run."
        _enter(task, ledger, run.index, ours(message, may_have_run=True), standing)
    return standing


def due(task: Object, ledger: Ledger, standing: Standing, base_s: float, now: datetime) -> list[Attempt]:
    """The attempts to start now, repeated runs first; no more than spec.parallelism has room for."""
    taken = len(standing.active) + len(standing.overdue) + len(standing.leaving)
    room = task["spec"].get("parallelism", 1) - taken
    if room <= 0:
        return []
    found: list[Attempt] = []
    for run in sorted(ledger.repeated.values(), key=lambda each: each.index):
        if run.started > run.ended or run.index in standing.leaving:
            continue
        wait_s = _wait_s(run, base_s, now)
        if wait_s <= 0:
            found.append((run.index, run.started + 1))
        else:
            standing.look_again_in(wait_s)
    if len(ledger.repeated) < MAX_REPEATED:
        last = min(ledger.completions, ledger.started + room)
        found += [(index, 1) for index in range(ledger.started, last)]
    return found[:room]


def _settle_pod(task: Object, ledger: Ledger, pod: Object, standing: Standing, now: datetime) -> None:
    index, attempt = _attempt_of(pod)
    if ledger.knows_end_of(index, attempt):
        if not _is_over(pod):
            standing.leaving.add(index)
        return
    ledger.start(index, attempt)
    state = judge(task, pod, now)
    if isinstance(state, Progress):
        standing.active.append((index, attempt))
        standing.look_again_in(state.look_again_s)
        if standing.waits_for is None or state.phase == "Running":
            standing.waits_for = state
        return
    if state.kind in (Kind.NOT_STARTED, Kind.INTERRUPTED) and not (_is_over(pod) or pods.is_deleting(pod)):
        standing.overdue.append((pod, state))
        return
    _enter(task, ledger, index, state, standing)


def _settle_loss(task: Object, ledger: Ledger, attempt: Attempt, loss: Loss, standing: Standing) -> None:
    ledger.start(*attempt)
    at = datetime.fromtimestamp(loss.at_s, UTC)
    outcome = ours(f"The attempt's pod is gone: {loss.reason}", may_have_run=loss.may_have_run, at=at)
    _enter(task, ledger, attempt[0], outcome, standing)


def _enter(task: Object, ledger: Ledger, index: int, outcome: Outcome, standing: Standing) -> None:
    ledger.end(index, outcome, task["spec"].get("backoffLimit", 0))
    if outcome.kind is Kind.FATAL and standing.fatal is None:
        standing.fatal = outcome


def _unaccounted(ledger: Ledger, there: Container[Attempt]) -> list[Run]:
    """Runs whose attempt is under way by the ledger, and of whose pod nothing is known."""
    open_runs = (ledger.open_run(index) for index in range(ledger.started))
    return [
        run
        for run in open_runs
        if run is not None and run.started > run.ended and (run.index, run.started) not in there
    ]


def _is_over(pod: Object) -> bool:
    """Whether its command can do nothing more."""
    return pods.is_over(pod) or pods.ended(pod, names.CONTAINER_TASK) is not None


def _wait_s(run: Run, base_s: float, now: datetime) -> float:
    failures = max(run.failed, run.unstarted)
    if run.last_end is None or failures == 0:
        return 0.0
    delay = timedelta(seconds=backoff.delay_s(base_s, failures))
    return (run.last_end + delay - now).total_seconds()


def _attempt_of(pod: Object) -> Attempt:
    return pods.index_of(pod), pods.attempt_of(pod)
