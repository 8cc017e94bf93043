"""Spectrum arithmetic, and what counts as a place."""

from __future__ import annotations

from typing import Any

import pytest
from dspy_agent.policies.search.candidates import candidates, normalised
from dspy_agent.policies.search.hints import Hints, read_hints
from dspy_agent.policies.search.localise import check_files, is_test_file, ochiai, places
from dspy_agent.policies.search.project import index
from dspy_agent.policies.search.rank import load_weights
from dspy_agent.policies.search.screen import swappable
from dspy_agent.policies.search.source import Source

TEXT = "LIMIT = 3\n\n\ndef f(x):\n    if x > LIMIT:\n        return 'é' + x\n    return x\n"


def report(**extra: Any) -> dict[str, Any]:
    lines = {"a.py": {"5": [1, 1], "6": [1, 0]}}
    return {"failed": ["test_a.py::test_f"], "passed": 1, "lines": lines, "failures": [], **extra}


@pytest.mark.parametrize(
    ("here", "passed", "failed", "expected"),
    [(1, 0, 1, 1.0), (1, 3, 1, 0.5), (0, 5, 2, 0.0), (2, 2, 2, 0.7071), (1, 0, 4, 0.5)],
)
def test_ochiai(here: int, passed: int, failed: int, expected: float) -> None:
    assert ochiai(here, passed, failed) == pytest.approx(expected, abs=1e-4)


def test_places_are_ordered_and_include_what_ran_at_import() -> None:
    source = Source("a.py", TEXT)
    found = [(place.statement.lineno, round(place.ochiai, 2)) for place in places(report(), {"a.py": source})]
    assert found == [(6, 1.0), (4, 0.9), (5, 0.71), (1, 0.64)]


def test_the_frame_that_raised_comes_first() -> None:
    frame = {"path": "a.py", "line": 5, "function": "f", "locals": {}}
    error = {"type": "TypeError", "bases": ["Exception"], "message": "", "frames": [frame]}
    failures = [{"test": "t", "comparisons": [], "chain": [error]}]
    lines = {"a.py": {"5": [1, 0], "6": [1, 0]}}
    first = places(report(lines=lines, failures=failures), {"a.py": Source("a.py", TEXT)})[0]
    assert (first.statement.lineno, first.frame_distance) == (5, 0)


@pytest.mark.parametrize(
    ("path", "test"),
    [
        ("tests/a.py", True),
        ("pkg/test_a.py", True),
        ("a_test.py", True),
        ("pkg/latest.py", False),
        ("checks.py", True),
    ],
)
def test_test_files(path: str, test: bool) -> None:
    assert is_test_file(path, {"checks.py"}) is test


@pytest.mark.parametrize(
    ("check", "arguments", "directory"),
    [
        (("python", "check.py"), [], "."),
        (("python", "./check.py", "--fast"), [], "."),
        (("sh", "-c", "cd /tmp; python check.py"), [], "."),
        (("make", "check"), ["../check.py"], "sub"),
        (("pytest", "check.py::test_x"), [], "."),
    ],
)
def test_what_the_check_names_is_part_of_it(
    check: tuple[str, ...], arguments: list[str], directory: str
) -> None:
    known = report(arguments=arguments, directory=directory, check_files=["base.py"])
    assert {"check.py", "base.py"} <= check_files(known, check)
    assert "program.py" not in check_files(known, check)


def test_candidates_are_distinct_and_parse() -> None:
    source = Source("a.py", TEXT)
    found = list(candidates(places(report(), {"a.py": source}), Hints(), index([source]), load_weights()))
    keys = [normalised(candidate) for candidate in found]
    assert len(found) > 50
    assert None not in keys
    assert len(set(keys)) == len(keys)
    for candidate in found:
        compile(candidate.content(), "a.py", "exec")


def test_a_function_that_ran_during_import_is_not_swapped() -> None:
    source = Source("a.py", TEXT)
    stream = candidates(places(report(), {"a.py": source}), Hints(), index([source]), load_weights())
    inner = next(candidate for candidate in stream if candidate.line == 6)
    assert swappable(inner, [1, 4]) == {"line": 4, "owner": "", "start": 12, "end": len(TEXT)}
    assert swappable(inner, [1, 4, 5]) is None


def test_hints_from_the_failing_test() -> None:
    comparison = {"operator": "==", "left": "'a_b'", "right": "'a-b'", "types": ["str", "str"]}
    error = {"type": "AssertionError", "bases": ["Exception"], "message": "m", "frames": []}
    failures = [{"test": "t", "comparisons": [comparison], "chain": [error]}]
    tests = {"test_a.py": "def test_f():\n    'story'\n    with raises(KeyError):\n        f('word')\n"}
    hints = read_hints(report(failures=failures), tests)
    assert hints.changes == (("_", "-"),)
    assert hints.expected == ("KeyError",)
    assert hints.words == ("word",)
