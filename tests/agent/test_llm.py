"""policy.llm against a scripted endpoint: a repair end to end, and an endpoint that does not play along."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from dspy_agent.clients.fake_runner import FakeRunner
from dspy_agent.core.budget import Budget, Limits
from dspy_agent.core.events import MemoryLog
from dspy_agent.core.journal import Journal
from dspy_agent.core.outcome import Outcome
from dspy_agent.core.policy import Observation, ToolCall
from dspy_agent.core.runner import Runner
from dspy_agent.core.session import TaskRun
from dspy_agent.errors import (
    PolicyEndpointRateLimited,
    PolicyEndpointRefused,
    PolicyEndpointUnreachable,
    SessionError,
    UnsupportedPolicy,
)
from dspy_agent.policies import equip, require_prices
from dspy_agent.policies.llm.transcript import Step, render

from tests.agent.conftest import make_tool_context
from tests.agent.scripted_endpoint import ScriptedEndpoint

pytestmark = pytest.mark.timeout(60)


def solve(
    server: ScriptedEndpoint,
    runner: Runner,
    repo: Path,
    log: MemoryLog,
    limits: Limits | None = None,
    **options: Any,
) -> Outcome:
    given = {"endpoint": server.url, "model": "scripted", "apiKey": "secret-key", "retries": 0} | options
    equipment = equip("llm", given)
    context = make_tool_context(runner, repo)
    budget = Budget(limits or Limits())
    context.seconds_left = lambda: budget.seconds_left
    return TaskRun(equipment.policy, equipment.tools, context, Journal(log), budget, lambda _: None).run()


def test_a_model_repairs_a_bug(endpoint: ScriptedEndpoint, any_runner: Runner, repo: Path) -> None:
    log = MemoryLog()
    outcome = solve(endpoint, any_runner, repo, log, usdPerMillionInput="10", usdPerMillionOutput="20")
    assert (outcome.outcome, outcome.turns) == ("Solved", 5)
    assert outcome.tokens > 0
    assert "items[len(items) - 1]" in outcome.patch
    types = [event.type for event in log.read(0, 100)]
    assert types.count("llm_call") == 5
    assert types.count("edit") == 1
    used = log.read(1, 1)[0].data["value"]["usage"]
    assert Decimal(used["usd"]) == (used["input_tokens"] * 10 + used["output_tokens"] * 20) / Decimal(
        1_000_000
    )


def test_a_restart_asks_the_model_nothing_twice(
    endpoint: ScriptedEndpoint, tmp_path: Path, repo: Path
) -> None:
    log = MemoryLog()
    solve(endpoint, FakeRunner(tmp_path / "first"), repo, log)
    asked = len(endpoint.requests)
    outcome = solve(endpoint, FakeRunner(tmp_path / "second"), repo, log)
    assert outcome.outcome == "Solved"
    assert len(endpoint.requests) == asked


@pytest.mark.parametrize(
    "case",
    [
        ([500], {}, PolicyEndpointUnreachable),
        ([], {"endpoint": "http://127.0.0.1:1/v1"}, PolicyEndpointUnreachable),
        ([], {"apiKey": "wrong"}, PolicyEndpointRefused),
        ([400], {}, PolicyEndpointRefused),
    ],
)
def test_an_endpoint_that_fails_ends_the_session(
    endpoint: ScriptedEndpoint,
    fake_runner: FakeRunner,
    repo: Path,
    case: tuple[list[int], dict[str, Any], type[SessionError]],
) -> None:
    failures, options, error = case
    endpoint.failures = failures
    with pytest.raises(error) as caught:
        solve(endpoint, fake_runner, repo, MemoryLog(), **options)
    assert "secret-key" not in str(caught.value)


def test_a_passing_failure_is_retried(
    endpoint: ScriptedEndpoint, fake_runner: FakeRunner, repo: Path
) -> None:
    endpoint.failures = [500]
    assert solve(endpoint, fake_runner, repo, MemoryLog(), retries=2).outcome == "Solved"


def test_a_rate_limit_is_waited_for_as_long_as_the_budget_lasts(
    endpoint: ScriptedEndpoint, fake_runner: FakeRunner, repo: Path
) -> None:
    """More often than other failures are retried: each answer says when to come back."""
    endpoint.failures, endpoint.retry_after = [429] * 8, "0"
    assert solve(endpoint, fake_runner, repo, MemoryLog(), Limits(seconds=60)).outcome == "Solved"

    endpoint.failures, endpoint.retry_after = [429], "61"
    with pytest.raises(PolicyEndpointRateLimited, match=r"limits the rate of requests.*budget\.seconds"):
        solve(endpoint, fake_runner, repo, MemoryLog(), Limits(seconds=60))


def test_a_rate_limit_of_a_day_is_not_waited_for(
    endpoint: ScriptedEndpoint, fake_runner: FakeRunner, repo: Path
) -> None:
    endpoint.failures, endpoint.retry_after = [429], "86400"
    with pytest.raises(PolicyEndpointRateLimited):
        solve(endpoint, fake_runner, repo, MemoryLog())


@pytest.mark.parametrize("dripping", [False, True])
def test_a_silent_model_cannot_outlast_the_budget(
    endpoint: ScriptedEndpoint, fake_runner: FakeRunner, repo: Path, dripping: bool
) -> None:
    endpoint.speaks.clear()
    endpoint.dripping = dripping
    log = MemoryLog()
    outcome = solve(endpoint, fake_runner, repo, log, Limits(seconds=2), retries=4)
    assert (outcome.outcome, outcome.reason) == ("Unsolved", "BudgetExhausted")
    assert "budget.seconds" in outcome.message
    assert len(endpoint.requests) == 1
    assert [event.type for event in log.read(0, 9)] == ["check_before", "llm_call", "check_after"]


def test_an_endpoint_that_fails_is_not_retried_past_the_budget(
    endpoint: ScriptedEndpoint, fake_runner: FakeRunner, repo: Path
) -> None:
    endpoint.failures, endpoint.retry_after = [500], "61"
    with pytest.raises(PolicyEndpointUnreachable):
        solve(endpoint, fake_runner, repo, MemoryLog(), Limits(seconds=60), retries=4)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        '{"argv": ["true"], "timeout_seconds": 1e999}',
        '{"argv": ["\\ud800"]}',
        '{"a": ' * 20_000,
        "[" * 20_000,
    ],
)
def test_arguments_that_nothing_could_record_are_told_to_the_model(
    endpoint: ScriptedEndpoint, fake_runner: FakeRunner, repo: Path, arguments: str
) -> None:
    endpoint.says = [
        f"[[ ## thought ## ]]\nHm \ud800.\n\n[[ ## tool ## ]]\nrun\n\n[[ ## arguments ## ]]\n{arguments}"
    ]
    log = MemoryLog()
    outcome = solve(endpoint, fake_runner, repo, log)
    assert outcome.outcome == "Solved"
    assert "could not be read" in json.dumps(endpoint.requests[1])
    for event in log.read(0, 100):
        event.to_json().encode()
        json.loads(event.to_json(), parse_constant=pytest.fail)


def test_tokens_end_the_session(endpoint: ScriptedEndpoint, fake_runner: FakeRunner, repo: Path) -> None:
    outcome = solve(endpoint, fake_runner, repo, MemoryLog(), Limits(tokens=10))
    assert (outcome.outcome, outcome.reason, outcome.turns) == ("Unsolved", "BudgetExhausted", 1)


def test_the_transcript_stays_within_its_size() -> None:
    steps = [
        Step("t", ToolCall("run", {"argv": [str(number)]}), Observation(True, {"out": "x" * 50_000}))
        for number in range(200)
    ]
    text = render(steps, 30_000)
    assert len(text) < 31_000
    assert "### step 200" in text
    assert "left out" in text


def test_a_budget_in_money_needs_prices() -> None:
    limits = Limits(usd=Decimal(1))
    with pytest.raises(UnsupportedPolicy, match=r"budget\.usd.*budget\.tokens"):
        require_prices("llm", {}, limits)
    require_prices("llm", {"usdPerMillionInput": "1"}, limits)
    require_prices("search", {}, limits)
    require_prices("llm", {}, Limits())
