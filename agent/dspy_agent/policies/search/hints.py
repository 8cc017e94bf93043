"""What the failures tell beyond the spectrum: exceptions, values that were compared, words of the failing tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

WORDS = 40
FRAGMENTS = 12


@dataclass(frozen=True)
class Hints:
    """Facts about the failing tests, in the order in which they were seen.

    `exceptions`: class names of raised exceptions. `bases`: those and their base classes. `expected`: exceptions that
    a test waited for (`pytest.raises(X)`). `changes`: (actual fragment, expected fragment) pairs of failing
    comparisons. `words`: string constants of the failing tests. `none_names`: names that were None in the traceback.
    `message`: the first failure's message.
    """

    exceptions: tuple[str, ...] = ()
    bases: frozenset[str] = frozenset()
    expected: tuple[str, ...] = ()
    changes: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    none_names: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    message: str = ""

    def raised(self, *names: str) -> bool:
        """Whether one of the exceptions (or a subclass) ended a failing test."""
        return any(name in self.bases for name in names)


def read_hints(report: Mapping[str, Any], tests: Mapping[str, str]) -> Hints:
    """Hints from the probe's report and the texts of the test files, by path."""
    failures = report["failures"]
    errors = [error for failure in failures for error in failure["chain"]]
    frames = [frame for error in errors for frame in error["frames"]]
    functions = _failing_functions(report["failed"], tests)
    return Hints(
        exceptions=_unique(error["type"] for error in errors),
        bases=frozenset(kind for error in errors for kind in [error["type"], *error["bases"]]),
        expected=_unique(name for function in functions for name in _expected_exceptions(function)),
        changes=_unique(change for failure in failures for change in _changes(failure))[:FRAGMENTS],
        words=_unique(word for function in functions for word in _words(function))[:WORDS],
        none_names=frozenset(
            name for frame in frames for name, (kind, _) in frame["locals"].items() if kind == "NoneType"
        ),
        types=frozenset(kind for frame in frames for kind, _ in frame["locals"].values()),
        message=errors[0]["message"] if errors else "",
    )


def _unique(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(items))


def _failing_functions(failed: Iterable[str], tests: Mapping[str, str]) -> list[ast.AST]:
    """The test functions named by the ids; the whole file where no function has the name (a script)."""
    found: list[ast.AST] = []
    for test in failed:
        name = re.split(r"::|\.", test.split("[")[0])[-1]
        for path, text in tests.items():
            if "::" in test and test.split("::")[0] != path:
                continue
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError):
                continue
            functions = [node for node in ast.walk(tree) if getattr(node, "name", None) == name]
            found += functions or ([tree] if test == "script" else [])
    return found


def _expected_exceptions(function: ast.AST) -> Iterable[str]:
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        if getattr(node.func, "attr", getattr(node.func, "id", "")) in ("raises", "assertRaises"):
            for argument in node.args[:1]:
                yield from (
                    getattr(part, "id", "") or getattr(part, "attr", "")
                    for part in ast.walk(argument)
                    if isinstance(part, ast.Name | ast.Attribute)
                )


def _words(function: ast.AST) -> Iterable[str]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(function)
        if isinstance(node, ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(function):
        value = node.value if isinstance(node, ast.Constant) and id(node) not in docstrings else None
        if isinstance(value, str) and 0 < len(value) <= 200:
            yield value


def _changes(failure: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """What would turn the actual value's text into the expected one; either side may be the actual one."""
    for comparison in failure["comparisons"]:
        if comparison["operator"] != "==":
            continue
        left, right = comparison["left"], comparison["right"]
        matcher = SequenceMatcher(None, left, right, autojunk=False)
        for tag, a, b, c, d in matcher.get_opcodes():
            if tag != "equal" and b - a <= 20 and d - c <= 20:
                yield left[a:b], right[c:d]
