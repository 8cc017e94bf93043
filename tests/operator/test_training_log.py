"""The log of a trainer: what it tells, and what no log can do to the operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from dspy_operator.status import training_log
from dspy_operator.status.training_log import (
    LINE,
    MAX_LINE,
    MAX_METRICS,
    MAX_POINTS,
    advance,
    read,
    rewound,
    thin,
)
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = Path(__file__).parents[2] / "contracts" / "events" / "training-line.schema.json"
EXAMPLES = sorted(SCHEMA.parent.glob("examples/training-line.*.json"))


def line(step: int, **metrics: Any) -> str:
    return json.dumps({"dspy": "progress", "step": step, "total": 100, "metrics": metrics}) + "\n"


def saved(step: int) -> str:
    return json.dumps({"dspy": "checkpoint", "step": step, "uri": f"s3://b/{step}"}) + "\n"


def test_the_schema_is_exported() -> None:
    """`python -m tools.contracts` does not know this one: the models here are its source."""
    assert json.loads(SCHEMA.read_text()) == {"title": "TrainingLine", **LINE.json_schema()}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_read(path: Path) -> None:
    told = json.loads(path.read_text())
    jsonschema.validate(told, json.loads(SCHEMA.read_text()))
    assert len(list(read(json.dumps(told)))) == 1


def test_what_a_log_tells() -> None:
    told = advance({}, "starting\n" + line(1, reward=0.5, loss=2) + saved(1) + line(2, reward=0.25))
    assert told["checkpoint"] == {"uri": "s3://b/1", "step": 1}
    assert told["progress"] == {
        "step": 2,
        "totalSteps": 100,
        "percent": 2,
        "metrics": [{"name": "reward", "value": "0.25"}],
        "curve": [{"step": 1, "value": "0.5"}, {"step": 2, "value": "0.25"}],
    }


HOSTILE = [
    '{"dspy": "progress", "step": ' + "9" * 10_000 + "}",
    '{"dspy": "progress", "step": 1e999}',
    '{"dspy": "progress", "step": -1}',
    '{"dspy": "progress", "step": true}',
    '{"dspy": "progress", "step": "7"}',
    '{"dspy": "progress", "step": NaN}',
    '{"dspy": "checkpoint", "step": 1, "uri": "s3://a b"}',
    '{"dspy": "checkpoint", "step": 1, "uri": "s3://b", "sha256": "x"}',
    '{"dspy": "checkpoint", "step": 1, "uri": "' + "a" * 3000 + '"}',
    '{"dspy": ' + "[" * 15_000,
    '"dspy"',
    '{"dspy": "progress", "step": 5, "pad": "' + "x" * MAX_LINE + '"}',
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_not_ours_is_passed_over(text: str) -> None:
    assert advance({}, text) == {}


def test_a_metric_that_diverged_is_left_out_and_the_step_counts() -> None:
    told = advance({}, '{"dspy": "progress", "step": 3, "metrics": {"loss": NaN, "a": -Infinity, "b": 1}}')
    assert told["progress"]["step"] == 3
    assert told["progress"]["metrics"] == [{"name": "b", "value": "1"}]


def test_no_more_metrics_than_the_status_holds() -> None:
    told = advance({}, line(1, **{f"m{number:03}": number for number in range(100)}))
    assert len(told["progress"]["metrics"]) == MAX_METRICS


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    advance({}, text)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5)
)
def test_no_value_is_an_error(value: Any) -> None:
    for kind in ("progress", "checkpoint"):
        told = {"dspy": kind, "step": value, "uri": value, "total": value, "metrics": {"reward": value}}
        advance({}, json.dumps(told))
        advance({}, json.dumps({**told, "step": 1, "total": None}))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=300))
def test_the_curve_rises_in_steps_and_stays_small(steps: list[int]) -> None:
    status: dict[str, Any] = {}
    for step in steps:
        status = advance(status, line(step, reward=step))
    drawn = [point["step"] for point in status["progress"]["curve"]]
    assert drawn == sorted(set(drawn))
    assert drawn[-1] == max(steps)
    assert len(drawn) <= MAX_POINTS


@given(st.integers(1, 120), st.data())
def test_a_tail_that_is_read_twice_changes_nothing(count: int, data: st.DataObject) -> None:
    """The log's tail comes whole at every look: what it shows must not depend on how often, or when, it was read."""
    log = [line(step, reward=step) for step in range(1, count + 1)]
    status: dict[str, Any] = {}
    end = 0
    while end < count:
        end = data.draw(st.integers(end, count))
        begin = data.draw(st.integers(0, end))
        status = {**status, **advance(status, "".join(log[begin:end]))}
        assert advance(status, "".join(log[begin:end])) == status
        if not begin < end:
            end += 1
    assert status.get("progress", {}).get("step", 0) <= count


def test_after_a_resume_the_curve_shows_the_way_that_led_on() -> None:
    status = advance({}, line(1, reward=1) + line(2, reward=2) + saved(2) + line(3, reward=9))
    again = rewound(status, resumes=True)
    assert (again["progress"]["step"], again["progress"]["percent"]) == (2, 2)
    resumed = advance(again, line(3, reward=3) + line(4, reward=4))
    assert [point["value"] for point in resumed["progress"]["curve"]] == ["1", "2", "3", "4"]


def test_a_run_that_begins_anew_has_nothing_yet() -> None:
    assert rewound(advance({}, line(1) + saved(1)), resumes=False) == {}
    assert rewound(advance({}, line(1)), resumes=True) == {}


def test_neither_progress_nor_checkpoint_goes_back() -> None:
    """A log that is read again from its beginning, or a run that its backend began again unasked."""
    known = advance({}, line(100) + saved(100))
    assert advance(known, line(1) + saved(1) + line(10) + saved(10)) == known
    assert advance(known, saved(10) + saved(101))["checkpoint"]["step"] == 101


def test_thinning_keeps_the_ends() -> None:
    points = [{"step": step} for step in range(training_log.MAX_POINTS + 1)]
    thinned = thin(points)
    assert (thinned[0], thinned[-1]) == (points[0], points[-1])
    assert len(thinned) <= training_log.MAX_POINTS
