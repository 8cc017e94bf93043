"""policy.search: find the failing tests' suspicious statements, try small typed edits, keep one that passes the check.

All decisions follow from observations: the same observations give the same calls.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from dspy_agent.core.policy import Context, Finish, Observation, Task, ToolCall
from dspy_agent.core.tools.base import is_protected
from dspy_agent.policies.search import probe
from dspy_agent.policies.search.candidates import Candidate, candidates
from dspy_agent.policies.search.hints import read_hints
from dspy_agent.policies.search.localise import check_files, is_test_file, places
from dspy_agent.policies.search.project import index
from dspy_agent.policies.search.rank import Weights, load_weights
from dspy_agent.policies.search.screen import read_screening, screening_call
from dspy_agent.policies.search.source import Source

Steps = Generator[
    ToolCall, Observation, Any
]  # a part of steps(); what it returns is said where it is defined

MAX_FILES = 40
BATCH = 400
DIRECT_BATCH = 16
VERIFIED = 3


class SearchPolicy:
    """Repairs Python programs whose check runs pytest, unittest or a script.

    `limit` bounds the candidates of a session; the session's budget usually ends it earlier.
    """

    def __init__(self, limit: int = 5000, weights: Weights | None = None) -> None:
        self.limit = limit
        self.weights = weights or load_weights()

    def first_call(self, task: Task) -> ToolCall:
        """The probe: it may run beside the check's first, plain run."""
        return _probe_call(task)

    def steps(self, task: Task, context: Context) -> Generator[ToolCall, Observation, Finish]:
        """Probe, read, generate, screen, verify, edit."""
        report = yield from _probe(task)
        if isinstance(report, Finish):
            return report
        sources, tests = yield from _read_sources(report, task)
        if not sources:
            return Finish(
                "PolicyGaveUp", "No Python file outside the tests was executed by the failing tests."
            )
        suspicious = places(report, sources)
        hints = read_hints(report, tests)
        stream = candidates(suspicious, hints, index(sources.values()), self.weights)
        finish: Finish = yield from self._search(islice(stream, self.limit), report, context)
        return finish

    def _search(self, stream: Iterator[Candidate], report: Mapping[str, Any], context: Context) -> Steps:
        """Screen batch after batch; of a batch's plausible patches verify the best and keep the first that passes."""
        tried, queue = 0, list(islice(stream, BATCH))
        while queue:
            plausible, rest = yield from _screen(queue, report, context)
            tried += len(queue) - len(rest)
            ranked = sorted(plausible, key=lambda item: -self.weights.choice_score(item.features))
            chosen = yield from _verify(ranked[:VERIFIED])
            if chosen is not None:
                return (yield from _apply(chosen, tried))
            queue = rest + list(islice(stream, BATCH - len(rest)))
        return Finish("CandidatesExhausted", f"None of {tried} candidate patches passes the check.")


def _probe(task: Task) -> Steps:
    """Run the check once with the probe: the failing tests, what they executed and why they failed."""
    observation = yield _probe_call(task)
    if not observation.ok:
        return Finish("PolicyGaveUp", f"The check cannot be probed: {observation.value['message']}")
    result = observation.value["results"][0]
    text = result and result["collected"].get(probe.SPECTRUM)
    if not text:
        return Finish(
            "PolicyGaveUp", "policy.search needs a check that runs Python tests; this one runs none."
        )
    report: dict[str, Any] = json.loads(text)
    if not report["failed"]:
        return Finish(
            "PolicyGaveUp", "The check fails, but none of its tests does; there is nothing to start from."
        )
    report["seconds"] = float(result["seconds"])
    report["arguments"] = _own_arguments(report)
    return report


def _probe_call(task: Task) -> ToolCall:
    python = task.check[0] if task.check[0].rsplit("/", 1)[-1].startswith("python") else "python3"
    return ToolCall(
        "trial",
        {
            "candidates": [{"edits": []}],
            "files": probe.files(),
            "command": [python, "-S", "-E", f"{probe.FOLDER}/launch.py", probe.SPECTRUM, *task.check],
            "collect": [probe.SPECTRUM],
            "collect_limit_bytes": 4 * 1024 * 1024,
            "purpose": "probe",
        },
    )


def _own_arguments(report: Mapping[str, Any]) -> list[str]:
    """The check's arguments without the interpreter's own options before `-m` or the script."""
    arguments: list[str] = report["arguments"]
    if report["mode"] == "pytest":
        return arguments
    while arguments and arguments[0].startswith("-") and arguments[0] != "-m":
        arguments = arguments[2:] if arguments[0] in ("-W", "-X") else arguments[1:]
    return arguments


def _read_sources(report: Mapping[str, Any], task: Task) -> Steps:
    """The program's files that the failing tests executed or imported, parsed, and the texts of the tests' files."""
    executed = sorted(report["lines"], key=lambda path: (-_weight(report["lines"][path].values()), path))
    imported = sorted(path for path in report["outside"] if path not in report["lines"])
    own = check_files(report, task.check)
    sources: dict[str, Source] = {}
    tests: dict[str, str] = {}
    for path in [*executed, *imported][: 2 * MAX_FILES]:
        test = is_test_file(path, own) or is_protected(path, task.protected_paths)
        if not test and len(sources) >= MAX_FILES:
            continue
        observation = yield ToolCall("read_file", {"path": path})
        if not observation.ok or observation.value.get("truncated"):
            continue
        text = observation.value["content"]
        if test:
            tests[path] = text
            continue
        try:
            sources[path] = Source(path, text)
        except (SyntaxError, ValueError):  # Python 2, a template, a half-written file: not ours to repair
            continue
    return sources, tests


def _weight(counts: Iterable[list[int]]) -> float:
    return max((failed / (failed + passed) for failed, passed in counts), default=0.0)


def _screen(batch: list[Candidate], report: Mapping[str, Any], context: Context) -> Steps:
    """(plausible, undecided) of the batch, by the harness or, where it cannot run, by the check itself."""
    screened = read_screening((yield screening_call(batch, report, context, report["seconds"])), len(batch))
    if screened.decided:
        undecided = [item for position, item in enumerate(batch) if position not in screened.decided]
        return [batch[position] for position in screened.passed], undecided
    return (yield from _run_check(batch[:DIRECT_BATCH], "try")), batch[DIRECT_BATCH:]


def _run_check(batch: list[Candidate], purpose: str) -> Steps:
    """Those of the batch that pass the user's own check, each in a fork of its own."""
    edits = [{"edits": [{"path": item.path, "content": item.content()}]} for item in batch]
    observation = yield ToolCall("trial", {"candidates": edits, "purpose": purpose})
    if observation.ok:
        return [batch[position] for position in observation.value["passed"]]
    # One candidate that cannot be tried (a file that may not be written) says nothing about the others.
    passed: list[Candidate] = []
    for item in batch if len(batch) > 1 else ():
        passed += yield from _run_check([item], purpose)
    return passed


def _verify(ranked: list[Candidate]) -> Steps:
    """The best-ranked plausible candidate that passes the user's own check, or None."""
    passed = (yield from _run_check(ranked, "verify")) if ranked else []
    return passed[0] if passed else None


def _apply(chosen: Candidate, tried: int) -> Steps:
    observation = yield ToolCall("edit", {"path": chosen.path, "content": chosen.content()})
    if not observation.ok:
        return Finish(
            "PolicyGaveUp", f"The patch of {chosen.path} was refused: {observation.value['message']}"
        )
    where = f"{chosen.path}, line {chosen.line}"
    return Finish("Done", f"Changed {where} ({chosen.template}); {tried} candidates were tried.")
