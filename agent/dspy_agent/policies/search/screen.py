"""How candidates are screened: the harness's plan, and its answers."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dspy_agent.core.policy import Context, Observation, ToolCall
from dspy_agent.core.tools.screening import PASS, read_answers
from dspy_agent.policies.search import probe
from dspy_agent.policies.search.candidates import Candidate

BATCH_SECONDS = 8.0
ENOUGH_PASSES = 6
LINGER_SECONDS = 1.5  # after the first pass, in search of a better one


@dataclass(frozen=True)
class Screened:
    """Positions in the batch: those that passed, and all that were decided (none: the harness did not work)."""

    passed: tuple[int, ...]
    decided: frozenset[int]


def screening_call(
    batch: Sequence[Candidate], report: Mapping[str, Any], context: Context, seconds: float
) -> ToolCall:
    """A trial that runs the harness on the batch in one fork; `seconds` is how long the baseline took."""
    plan = {
        **{key: report[key] for key in ("mode", "directory", "sys_path", "modules")},
        "arguments": report["arguments"],
        "tests": report["failed"],
        "passing_tests": report["passed"],
        "paths": sorted({candidate.path for candidate in batch}),
        "candidates": [_entry(candidate, report["outside"]) for candidate in batch],
        "jobs": max(1, context.concurrency),
        "timeout": min(20.0, 2.0 + 2 * seconds),
        "full_timeout": min(120.0, 5.0 + 4 * seconds),
        "seconds": BATCH_SECONDS,
        "passes": ENOUGH_PASSES,
        "linger": LINGER_SECONDS,
    }
    command = [report["executable"], f"{probe.FOLDER}/search_probe_harness.py", probe.PLAN, probe.RESULTS]
    arguments = {
        "candidates": [{"edits": []}],
        "files": [*probe.files(), {"path": probe.PLAN, "content": json.dumps(plan)}],
        "command": command,
        "timeout_seconds": BATCH_SECONDS + plan["full_timeout"] + 10,
        "collect": [probe.RESULTS],
        "purpose": "screen",
        "screening": probe.RESULTS,
    }
    return ToolCall("trial", arguments)


def _entry(candidate: Candidate, outside: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    edits = [[edit.start, edit.end, edit.text] for edit in candidate.edits]
    return {
        "path": candidate.path,
        "edits": edits,
        "function": swappable(candidate, outside.get(candidate.path, ())),
    }


def swappable(candidate: Candidate, imported: Sequence[int]) -> dict[str, Any] | None:
    """The outermost function whose body holds every edit, unless it ran during import (its lines in `imported`).

    Such a function's code can be exchanged after collection; everything else has to be imported anew.
    """
    source, first = candidate.source, min(edit.start for edit in candidate.edits)
    last = max(edit.end for edit in candidate.edits)
    for function in source.outer_functions:
        start, end = source.span(function)
        start, end = source.line_start(start), source.line_end(end)
        body = source.line_start(source.span(function.body[0])[0])
        if not (start < body <= first and last <= end):
            continue
        if set(imported) & set(range(function.body[0].lineno, (function.end_lineno or 0) + 1)):
            return None
        owner = source.parents[function]
        line = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
        name = owner.name if isinstance(owner, ast.ClassDef) else ""
        return {"line": line, "owner": name, "start": start, "end": end}
    return None


def read_screening(observation: Observation, size: int) -> Screened:
    """The harness's answers on a batch of `size`; a harness that could not run decided nothing."""
    if not observation.ok:
        return Screened((), frozenset())
    result = observation.value["results"][0]
    answers = read_answers(result and result["collected"].get(probe.RESULTS))
    # The sandboxed program could write anything into the file: positions outside the batch are no answers.
    answers = {index: outcome for index, outcome in answers.items() if 0 <= index < size}
    passed = sorted(index for index, outcome in answers.items() if outcome == PASS)
    return Screened(tuple(passed), frozenset(answers))
