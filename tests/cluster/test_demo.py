"""How the demo follows its session, on answers of kubectl that are written down, and what it tells people to paste."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.common.process import ToolError
from tools.common.progress import Progress
from tools.demo import tell_what_next
from tools.demo_follow import Patience, follow, news

AT_ONCE = Patience(stalled_seconds=0, look_every_seconds=0, remind_every_seconds=0)


def session(outcome: str | None = None, **conditions: str) -> dict[str, Any]:
    """A session in which the named conditions hold, each for its reason."""
    holding = [
        {"type": kind, "status": "True", "reason": reason, "message": f"About {reason}."}
        for kind, reason in conditions.items()
    ]
    status: dict[str, Any] = {"conditions": [*holding, {"type": "Other", "status": "False", "reason": "No"}]}
    if outcome:
        status["result"] = {"outcome": outcome}
    return {"status": status}


class Kubectl:
    """Answers with one session after another, and with the last one for ever."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = list(answers)

    def __call__(self, *words: str) -> str:
        assert words == ("get", "agentsession", "s", "-o", "json")
        return json.dumps(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


def test_each_condition_is_told_once_and_the_outcome_comes_back() -> None:
    told = io.StringIO()
    kubectl = Kubectl(
        {},
        session(Reconciling="PodStarting"),
        session(Ready="AgentReady"),
        session(Ready="AgentReady"),
        session("Unsolved", Finished="BudgetExhausted"),
    )
    patient = Patience(look_every_seconds=0, remind_every_seconds=1000)
    assert follow(kubectl, "s", Progress(told), patient) == "Unsolved"
    assert [line.partition("] ")[2] for line in told.getvalue().splitlines()] == [
        "session: Reconciling (PodStarting) About PodStarting.",
        "session: Ready (AgentReady) About AgentReady.",
        "session: Finished (BudgetExhausted) About BudgetExhausted.",
    ]


def test_a_session_that_stays_stalled_ends_the_demo_with_its_words() -> None:
    told = io.StringIO()
    kubectl = Kubectl(session(Stalled="ImagePullFailed"))
    with pytest.raises(ToolError, match=r"cannot go on: About ImagePullFailed\. \(ImagePullFailed\)"):
        follow(kubectl, "s", Progress(told), AT_ONCE)
    assert "session: Stalled (ImagePullFailed)" in told.getvalue()


def test_a_stall_that_passes_is_waited_out() -> None:
    kubectl = Kubectl(
        session(Stalled="ImagePullFailed"),
        session(Ready="AgentReady"),
        session("Solved", Finished="CheckPassed"),
    )
    patient = Patience(stalled_seconds=60, look_every_seconds=0)
    assert follow(kubectl, "s", Progress(io.StringIO()), patient) == "Solved"


def test_a_session_that_ended_in_an_error_has_an_outcome_though_it_is_stalled() -> None:
    kubectl = Kubectl(session("Error", Finished="CheckCannotStart", Stalled="CheckCannotStart"))
    assert follow(kubectl, "s", Progress(io.StringIO()), AT_ONCE) == "Error"


def test_a_session_that_never_ends_is_given_up_and_its_silence_broken() -> None:
    told = io.StringIO()
    impatient = Patience(finished_seconds=0.05, look_every_seconds=0, remind_every_seconds=0)
    with pytest.raises(ToolError, match="kubectl describe agentsession s"):
        follow(Kubectl(session(Ready="AgentReady")), "s", Progress(told), impatient)
    assert "still working" in told.getvalue()


def test_a_condition_that_comes_back_is_news_again() -> None:
    seen: dict[str, str] = {}
    ready = session(Ready="AgentReady")
    lines = [news(each, seen) for each in (ready, ready, session(Reconciling="PodLost"), ready)]
    assert [len(line) for line in lines] == [1, 0, 1, 1]


@pytest.mark.parametrize("example", [None, "some-example"])
def test_what_people_are_told_to_paste_is_understood_by_a_shell(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, example: str | None
) -> None:
    tell_what_next(tmp_path / "a folder" / "kubeconfig", example)
    pasted = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    exported, *commands = pasted
    shown = subprocess.run(
        ["bash", "-euc", f'{exported}; printf %s "$KUBECONFIG"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout == str(tmp_path / "a folder" / "kubeconfig")
    assert any("some-example" in command for command in commands) == (example is not None)
