"""Where: statements ranked by Ochiai over the check's tests, by the failure's traceback and by what they feed.

Ochiai's suspiciousness of a line is failed(line) / sqrt(failed * (failed(line) + passed(line))), see Abreu et al., "On
the accuracy of spectrum-based fault localization" (2007).
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from dspy_agent.policies.search.source import Source, loaded_names

TEST_FILE = re.compile(r"(^|/)(tests?/|testing/|conftest\.py$|test_[^/]*\.py$|[^/]*_tests?\.py$)")
SHELL_WORDS = re.compile(r"[\s;&|()]+")  # a check may be `sh -c "cd sub && python check.py"`
MODULE_LEVEL = 0.9  # a constant is a little less likely than the statement that uses it


@dataclass(frozen=True)
class Place:
    """A statement under suspicion: Ochiai in 0..1, and its distance in frames from where the error was raised."""

    source: Source = field(repr=False)
    statement: ast.stmt
    ochiai: float
    frame_distance: int | None = None

    @property
    def score(self) -> float:
        """One figure to sort by: being in the traceback counts for up to a third more."""
        near = 0.0 if self.frame_distance is None else 1.0 / (1 + self.frame_distance)
        return self.ochiai * (0.75 + 0.25 * near)


def is_test_file(path: str, check_files: Collection[str]) -> bool:
    """Whether the file belongs to the tests rather than to the program."""
    return bool(TEST_FILE.search(path)) or path in check_files


def check_files(report: Mapping[str, Any], check: Iterable[str]) -> frozenset[str]:
    """Files that decide whether the check passes: those that its words name, and those that its tests are defined in.

    An edit of one of them, such as an assertion that is turned round, would pass without a repair.
    """
    words = [*check, *(posixpath.join(report["directory"], word) for word in report["arguments"])]
    parts = (part.split("::")[0] for word in words for part in SHELL_WORDS.split(word))
    return frozenset({posixpath.normpath(part) for part in parts} | set(report["check_files"]))


def ochiai(failed_here: int, passed_here: int, failed: int) -> float:
    """Suspiciousness of one line in 0..1; `failed` counts all failing tests and is at least 1."""
    return failed_here / sqrt(failed * (failed_here + passed_here)) if failed_here else 0.0


def places(report: Mapping[str, Any], sources: Mapping[str, Source]) -> list[Place]:
    """Suspicious statements of the sources, most suspicious first (ties: the file's order)."""
    failed = max(1, len(report["failed"]))
    frames = frame_distances(report["failures"])
    found: list[Place] = []
    for path, source in sources.items():
        lines = {
            int(line): ochiai(here, passed, failed)
            for line, (here, passed) in report["lines"].get(path, {}).items()
        }
        found += _executed(source, lines, frames)
    found += _definitions(found, sources.values())
    return sorted(found, key=lambda place: (-place.score, place.source.path, place.statement.lineno))


def frame_distances(failures: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], int]:
    """(path, line) → frames between it and the point of the error, the smallest over all failures."""
    distances: dict[tuple[str, int], int] = {}
    for failure in failures:
        for error in failure["chain"]:
            for distance, frame in enumerate(reversed(error["frames"])):
                place = (frame["path"], frame["line"])
                distances[place] = min(distance, distances.get(place, distance))
    return distances


def _executed(
    source: Source, lines: Mapping[int, float], frames: Mapping[tuple[str, int], int]
) -> list[Place]:
    found = []
    for statement in ast.walk(source.tree):
        if not isinstance(statement, ast.stmt):
            continue
        own = own_line_numbers(statement)
        score = max((lines.get(line, 0.0) for line in own), default=0.0)
        if score > 0:
            near = [frames[source.path, line] for line in own if (source.path, line) in frames]
            found.append(Place(source, statement, score, min(near, default=None)))
    return found


def own_line_numbers(statement: ast.stmt) -> range:
    """Lines of the statement less those of nested statements."""
    bodies = [
        child.lineno
        for child in ast.walk(statement)
        if isinstance(child, ast.stmt) and child is not statement
    ]
    bodies = [line for line in bodies if line > statement.lineno]
    return range(statement.lineno, min(bodies, default=(statement.end_lineno or statement.lineno) + 1))


def _definitions(executed: list[Place], sources: Iterable[Source]) -> list[Place]:
    """Signatures of suspicious functions, and module or class constants that suspicious statements read.

    They run at import, outside every test, so the spectrum alone cannot see them.
    """
    sources = list(sources)
    signatures: dict[ast.stmt, Place] = {}
    readers: dict[str, float] = {}
    for place in executed:
        function = place.source.function_of(place.statement)
        if function is not None:
            known = signatures.get(function)
            score = max(place.ochiai * MODULE_LEVEL, known.ochiai if known else 0.0)
            signatures[function] = Place(place.source, function, score)
        for name in _read_names(place.statement):
            readers[name] = max(readers.get(name, 0.0), place.ochiai * MODULE_LEVEL)
    constants = [
        Place(source, statement, max(readers.get(name, 0.0) for name in names))
        for source in sources
        for statement, names in _constants(source)
        if any(name in readers for name in names)
    ]
    done = {place.statement for place in executed}
    return [place for place in [*signatures.values(), *constants] if place.statement not in done]


def _read_names(statement: ast.stmt) -> set[str]:
    names = set(loaded_names(statement))
    return names | {node.attr for node in ast.walk(statement) if isinstance(node, ast.Attribute)}


def _constants(source: Source) -> Iterable[tuple[ast.stmt, list[str]]]:
    for statement in ast.walk(source.tree):
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or source.function_of(statement) is not None:
            continue
        targets = [*getattr(statement, "targets", []), getattr(statement, "target", None)]
        names = [getattr(target, "id", "") for target in targets]
        if any(names):
            yield statement, [name for name in names if name]
