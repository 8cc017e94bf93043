"""How candidates are screened: the harness's plan, and its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dspy_agent.core.policy import Context, Observation, ToolCall
from dspy_agent.policies.search import probe
from dspy_agent.policies.search.candidates import Candidate

BATCH_SECONDS = 8.0
ENOUGH_PASSES = 4


@dataclass(frozen=True)
class Screened:
    """Positions in the batch: those that passed, how many ran, and whether the harness worked at all."""

    passed: tuple[int, ...]
    ran: int
    worked: bool


def screening_call(batch: Sequence[Candidate], report: Mapping[str, Any], context: Context, seconds: float) -> ToolCall:
    """A trial that runs the harness on the batch in one fork; `seconds` is how long the baseline took."""
    plan = {
        **{key: report[key] for key in ("mode", "directory", "sys_path", "modules")},
        "arguments": report["arguments"],
        "tests": report["failed"],
        "passing_tests": report["passed"],
        "paths": sorted({candidate.path for candidate in batch}),
        "candidates": [_edits(candidate) for candidate in batch],
        "jobs": max(1, context.concurrency),
        "timeout": min(20.0, 2.0 + 2 * seconds),
        "full_timeout": min(120.0, 5.0 + 4 * seconds),
        "seconds": BATCH_SECONDS,
        "passes": ENOUGH_PASSES,
    }
    command = [report["executable"], f"{probe.FOLDER}/search_probe_harness.py", probe.PLAN, probe.RESULTS]
    arguments = {
        "candidates": [{"edits": []}],
        "files": [*probe.files(), {"path": probe.PLAN, "content": json.dumps(plan)}],
        "command": command,
        "timeout_seconds": BATCH_SECONDS + plan["full_timeout"] + 10,
        "collect": [probe.RESULTS],
    }
    return ToolCall("trial", arguments)


def _edits(candidate: Candidate) -> dict[str, list[list[Any]]]:
    return {candidate.path: [[edit.start, edit.end, edit.text] for edit in candidate.edits]}


def read_screening(observation: Observation) -> Screened:
    """The harness's answers; a harness that left nothing did not work."""
    if not observation.ok:
        return Screened((), 0, worked=False)
    result = observation.value["results"][0]
    text = result["collected"].get(probe.RESULTS)
    if not text:
        return Screened((), 0, worked=result["exit_code"] == 0)
    answers = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    passed = sorted(answer["index"] for answer in answers if answer["outcome"] == "pass")
    ran = max((answer["index"] for answer in answers), default=-1) + 1
    return Screened(tuple(passed), ran, worked=True)
