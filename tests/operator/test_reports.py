"""What hostile pods report: sound, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dspy_operator.errors import ReportInvalidError
from dspy_operator.reports import agent_report, runner_report
from hypothesis import given
from hypothesis import strategies as st

from tests.operator.fake_kubelet import (
    report,
    result,
)

HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(report(), HOSTILE)) | HOSTILE)
def test_hostile_agent_reports_are_refused_or_sound(value: Any) -> None:
    try:
        made = agent_report(json.dumps(value))
    except ReportInvalidError:
        return
    assert made.outcome in ("Solved", "Unsolved", "Error")
    assert 0 <= made.seconds <= 1e9
    assert made.turns >= 0


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*result(), "error"], HOSTILE)) | HOSTILE)
def test_hostile_runner_reports_are_refused_or_sound(value: Any) -> None:
    try:
        made = runner_report(json.dumps(value))
    except ReportInvalidError:
        return
    assert (made.reason is None) != (made.error is None)
    assert made.exit_code is None or 0 <= made.exit_code <= 255


@given(st.text(max_size=4096))
def test_any_text_is_a_report_or_an_error(text: str) -> None:
    with pytest.raises(ReportInvalidError):
        agent_report(text)
