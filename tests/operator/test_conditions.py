"""Conditions: when a transition time moves, and what is worth a write. Pure tables."""

from __future__ import annotations

from datetime import timedelta

import pytest
from dspy_operator.status.conditions import Change, Condition, compare, merge
from dspy_operator.store import Object

from tests.operator.builders import START


def test_merge_moves_transition_times_only_with_the_status() -> None:
    first = merge([], [Condition("Ready", "False", "A", "x")], 1, START)
    later = START + timedelta(minutes=1)
    second = merge(first, [Condition("Ready", "False", "B", "y")], 2, later)
    assert second[0]["lastTransitionTime"] == first[0]["lastTransitionTime"]
    assert (second[0]["reason"], second[0]["observedGeneration"]) == ("B", 2)
    third = merge(second, [Condition("Ready", "True", "C", "")], 2, later)
    assert third[0]["lastTransitionTime"] == "2026-01-01T00:01:00Z"


def conditions(**statuses: str) -> Object:
    made = [Condition(kind, *value.split("/", 1)) for kind, value in statuses.items()]  # type: ignore[arg-type]
    return {"conditions": merge([], made, 1, START)}


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (conditions(Ready="False/A"), conditions(Ready="False/A"), Change.NONE),
        (conditions(Ready="False/A"), conditions(Ready="True/B"), Change.MATERIAL),
        (conditions(Ready="False/A"), conditions(Ready="False/B"), Change.MINOR),
        (conditions(Scheduled="False/A"), conditions(Scheduled="True/B"), Change.MINOR),
        (conditions(Stalled="True/A"), conditions(Stalled="True/B"), Change.MATERIAL),
        (conditions(Failed="False/A"), conditions(Failed="False/B"), Change.MINOR),
        ({"nodeName": "a"}, {"nodeName": "b"}, Change.MINOR),
        ({"attempts": 1}, {"attempts": 2}, Change.MATERIAL),
        ({}, conditions(Ready="False/A"), Change.MATERIAL),
    ],
)
def test_what_is_worth_a_write(before: Object, after: Object, change: Change) -> None:
    assert compare(before, after) is change
