"""From suspicious statements to a deduplicated stream of candidates, best first."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log

from dspy_agent.policies.search.hints import Hints
from dspy_agent.policies.search.localise import Place
from dspy_agent.policies.search.project import Project
from dspy_agent.policies.search.rank import Weights, features
from dspy_agent.policies.search.source import Edit, Source, apply
from dspy_agent.policies.search.templates import TEMPLATES, Site

PLACES_PER_WAVE = 150


@dataclass(frozen=True)
class Candidate:
    """A patch of one file, with what made it: the template, the statement's line and the ranker's features."""

    source: Source
    edits: tuple[Edit, ...]
    template: str
    line: int
    features: dict[str, float]
    score: float

    @property
    def path(self) -> str:
        """The patched file."""
        return self.source.path

    def content(self) -> str:
        """The whole patched file."""
        return apply(self.source.text, self.edits)


def candidates(
    places: Sequence[Place], hints: Hints, project: Project, weights: Weights
) -> Iterator[Candidate]:
    """All candidates, in waves of places: within a wave by the ranker's score, ties by the order of generation."""
    seen: set[tuple[str, str, str]] = set()
    for start in range(0, len(places), PLACES_PER_WAVE):
        wave = list(_wave(places[start : start + PLACES_PER_WAVE], hints, project, weights))
        wave.sort(key=lambda candidate: -candidate.score)
        for candidate in wave:
            key = normalised(candidate)
            if key is not None and key not in seen:
                seen.add(key)
                yield candidate


def _wave(places: Iterable[Place], hints: Hints, project: Project, weights: Weights) -> Iterator[Candidate]:
    for place in places:
        site = Site(place.source, place.statement, hints, project)
        for name, template in TEMPLATES.items():
            repeats: Counter[int] = Counter()
            for proposal in sorted(template(site), key=lambda proposal: -proposal.prior):
                line = place.source.line_start(proposal.edits[0].start)
                vector = features(place, name, proposal, hints) | {"repeat": log(1 + repeats[line])}
                repeats[line] += 1
                score = weights.search_score(vector)
                yield Candidate(place.source, proposal.edits, name, place.statement.lineno, vector, score)


def normalised(candidate: Candidate) -> tuple[str, str, str] | None:
    """A key that equal programs share; None when the patched part does not parse or nothing changed.

    Only the enclosing function is parsed: a whole file takes longer than running most candidates.
    """
    source = candidate.source
    start, end = _region(source, candidate.edits)
    shifted = tuple(Edit(edit.start - start, edit.end - start, edit.text) for edit in candidate.edits)
    before = source.text[start:end]
    try:
        new, old = _dump(apply(before, shifted)), _dump(before)
    except (SyntaxError, ValueError):
        return None
    return None if new == old else (source.path, str(start), new)


def _dump(text: str) -> str:
    body = "if 1:\n" + text if text[:1] in (" ", "\t") else text
    return ast.dump(ast.parse(body))


def _region(source: Source, edits: Sequence[Edit]) -> tuple[int, int]:
    """Whole lines of the smallest definition, or top-level statement, that holds every edit."""
    first, last = min(edit.start for edit in edits), max(edit.end for edit in edits)
    best = (0, len(source.text))
    for start, end in source.definition_spans:
        if start <= first and last <= end and end - start < best[1] - best[0]:
            best = (start, end)
    return best
