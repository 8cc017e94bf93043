# mypy: ignore-errors
# Runs in the user's interpreter (3.9 or newer), without this package.
"""Screens many candidates in one process: `python search_probe_harness.py PLAN RESULTS`.

Starting Python and importing pytest costs far more than most tests, so that is done once; then every candidate gets a
forked child whose imports see the patched text of the edited files. The files on disk never change. A candidate that
passes here is only plausible: the policy still runs the user's own check, unmodified, on it.
"""

import importlib
import json
import os
import sys
import time
from importlib.machinery import SourceFileLoader

from search_probe_pool import Pool

UNSUITABLE = 77
FIRST = -1  # in place of an index: the first candidate starts now
WARM_SHARE = 0.7  # of the seconds, when some candidates have to run from scratch
NOT_PATHS_AFTER = {"-c", "-k", "-m", "-n", "-o", "-p", "-r", "-W", "--basetemp", "--confcutdir", "--deselect"}
NOT_PATHS_AFTER |= {"--ignore", "--import-mode", "--junitxml", "--maxfail", "--rootdir", "--tb", "--timeout"}
QUIET = ["-x", "-p", "no:cacheprovider", "--tb=no"]


class Plan:
    """The plan file: how the check ran (mode, arguments, directory, sys_path), which tests failed, the candidates."""

    def __init__(self, values):
        self.__dict__.update(values)


def main():
    """Read the plan, load once, run the candidates."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        plan = Plan(json.load(stream))
    with open(os.path.abspath(sys.argv[2]), "w", encoding="utf-8") as results:
        prepare(plan)
        Screening(plan, results).run()


def prepare(plan):
    """Restore the check's own import path and load what it is known to load from the standard library."""
    plan.root = os.getcwd()
    sys.path[:] = [
        os.path.join(plan.root, entry[2:]) if entry.startswith("@/") else entry for entry in plan.sys_path
    ]
    plan.sources = {}
    for path in plan.paths:
        with open(path, encoding="utf-8", newline="") as stream:
            plan.sources[path] = stream.read()
    os.chdir(plan.directory)
    names = list(plan.modules)
    if plan.mode == "pytest":
        names += [
            "pytest",
            "_pytest.assertion.rewrite",
            "_pytest.fixtures",
            "_pytest.python",
            "_pytest.terminal",
        ]
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:  # a private module of another platform: the child imports what it really needs
            continue


class Screening:
    """Runs the plan's candidates: first those where one function can be swapped, then the rest from scratch."""

    def __init__(self, plan, results):
        self.plan = plan
        self.results = results
        self.passes = 0
        self.stop = time.monotonic() + plan.seconds
        self.began = False

    def run(self):
        """Until the candidates, the seconds or the wanted number of passes are used up."""
        positions = range(len(self.plan.candidates))
        warm = [
            index
            for index in positions
            if self.plan.mode == "pytest" and self.plan.candidates[index]["function"]
        ]
        cold = [index for index in positions if index not in set(warm)]
        statuses = self.run_warm(warm, len(cold)) if warm else {}
        again = [
            index for index in warm if statuses.get(index, UNSUITABLE if not statuses else None) == UNSUITABLE
        ]
        passed = [index for index in warm if statuses.get(index) == 0]
        self.run_cold(
            [(index, False) for index in passed] + [(index, True) for index in sorted(cold + again)]
        )

    def begin(self):
        """Note when the first candidate starts: the benchmark of the time to the first candidate reads it."""
        if not self.began:
            self.began = True
            self.results.write(json.dumps({"first_candidate_at": time.time()}) + "\n")
            self.results.flush()

    def report(self, index, outcome):
        """One JSON line, flushed at once: a harness that is cut short leaves what it had."""
        if outcome == "pass":
            self.passes += 1
            self.stop = min(self.stop, time.monotonic() + self.plan.linger)
        self.results.write(json.dumps({"index": index, "outcome": outcome}) + "\n")
        self.results.flush()

    def run_warm(self, indexes, others):
        """A child collects and screens: index → exit status, None for a timeout; empty when it could not collect."""
        seconds = self.plan.seconds * (WARM_SHARE if others else 1.0)
        reading, writing = os.pipe()
        pool, statuses = Pool(1), {}
        pool.start(
            "warm",
            lambda: warm_server(self.plan, indexes, writing, seconds),
            seconds + self.plan.timeout + 10,
        )
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as lines:
            for line in lines:
                index, status = json.loads(line)
                if index == FIRST:
                    self.begin()
                    continue
                statuses[index] = status
                if status not in (0, UNSUITABLE):
                    self.report(index, "timeout" if status is None else "fail")
        pool.wait()
        return statuses

    def run_cold(self, waiting):
        """From scratch: `(index, focused)`, focused for the failing tests only. A focused pass is run in full next."""
        pool = Pool(self.plan.jobs)
        while waiting or pool.running:
            if time.monotonic() > self.stop or self.passes >= self.plan.passes:
                waiting = [item for item in waiting if not item[1]]
            while waiting and not pool.full():
                index, focused = waiting.pop(0)
                seconds = self.plan.timeout if focused else self.plan.full_timeout
                self.begin()
                pool.start((index, focused), self.work(index, focused), seconds)
            for (index, focused), status in pool.wait() if pool.running else ():
                if status == 0 and focused and self.plan.passing_tests:
                    waiting.insert(0, (index, False))
                else:
                    self.report(index, {0: "pass", None: "timeout"}.get(status, "fail"))

    def work(self, index, focused):
        """What a child does."""
        return lambda: run_candidate(self.plan, self.plan.candidates[index], focused)


def warm_server(plan, indexes, writing, seconds):
    """Collect the failing tests once and try the candidates on them."""
    import gc

    import pytest

    from search_probe_warm import Warm, functions, try_function

    stop = time.monotonic() + seconds

    def screen(session):
        nonlocal stop
        known, pool, waiting, passes = functions(), Pool(plan.jobs), list(indexes), 0
        began = False
        gc.freeze()
        while waiting or pool.running:
            if time.monotonic() > stop or passes >= plan.passes:
                waiting = []
            while waiting and not pool.full():
                index = waiting.pop(0)
                path, edits, function = (plan.candidates[index][key] for key in ("path", "edits", "function"))
                targets = known.get((os.path.realpath(os.path.join(plan.root, path)), function["line"]))
                if not targets:
                    os.write(writing, b"[%d, %d]\n" % (index, UNSUITABLE))
                    continue
                before = plan.sources[path]
                after = apply(before, edits)
                text = after[function["start"] : function["end"] + len(after) - len(before)]
                if not began:
                    began = True
                    os.write(writing, b"[%d, 0]\n" % FIRST)
                pool.start(index, lambda: try_function(session, targets, function, text), plan.timeout)  # noqa: B023
            for index, status in pool.wait() if pool.running else ():
                if status == 0:
                    passes, stop = passes + 1, min(stop, time.monotonic() + plan.linger)
                os.write(writing, (json.dumps([index, status]) + "\n").encode())

    return int(pytest.main([*focus(plan.arguments, plan.tests), *QUIET], plugins=[Warm(plan.tests, screen)]))


def run_candidate(plan, candidate, focused):
    """The candidate's exit status from scratch, 0 for success."""
    path = os.path.join(plan.root, candidate["path"])
    patched = {path: apply(plan.sources[candidate["path"]], candidate["edits"])}
    serve(patched)
    return {"pytest": run_pytest, "unittest": run_unittest, "script": run_script}[plan.mode](
        plan, patched, focused
    )


def apply(source, edits):
    """Apply `[start, end, text]` edits, given in characters of the original."""
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text + source[end:]
    return source


def serve(patched):
    """Make the import system compile the patched text in place of the file's."""
    original = SourceFileLoader.get_code
    targets = {os.path.realpath(path): text for path, text in patched.items()}

    def get_code(self, fullname):
        text = targets.get(os.path.realpath(self.path))
        if text is None:
            return original(self, fullname)
        return compile(text, self.path, "exec", dont_inherit=True)

    SourceFileLoader.get_code = get_code


def run_pytest(plan, patched, focused):
    """pytest on the failing tests, or on the check's own arguments."""
    import pytest

    arguments = focus(plan.arguments, plan.tests) if focused else plan.arguments
    return int(pytest.main([*arguments, *QUIET], plugins=[Only(plan.tests)] if focused else []))


class Only:
    """Deselects every test that did not fail at first."""

    def __init__(self, tests):
        self.tests = set(tests)

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if item.nodeid in self.tests or item.parent.nodeid in self.tests]


def focus(arguments, tests):
    """Give the failing tests' files in place of the paths, so that no other test module is imported."""
    files = sorted({test.split("::")[0] for test in tests})
    if not all(os.path.exists(path) for path in files):
        return arguments
    kept, previous = [], ""
    for argument in arguments:
        is_path = os.path.exists(argument.split("::")[0]) and not argument.startswith("-")
        if not is_path or previous in NOT_PATHS_AFTER:
            kept.append(argument)
        previous = argument
    return kept + files


def run_unittest(plan, patched, focused):
    """`python -m unittest` or a script of tests; tests that passed at first are skipped when focused."""
    import unittest

    if focused:
        original, wanted = unittest.TestCase.run, set(plan.tests)

        def run(self, result=None):
            return original(self, result) if self.id() in wanted else result

        unittest.TestCase.run = run
    if plan.arguments[:2] == ["-m", "unittest"]:
        program = unittest.main(
            module=None, argv=["unittest", *plan.arguments[2:]], exit=False, failfast=True
        )
        return 0 if program.result.wasSuccessful() else 1
    return run_script(plan, patched, focused)


def run_script(plan, patched, focused):
    """A plain script as `__main__`."""
    path = os.path.abspath(plan.arguments[0])
    text = patched.get(path)
    if text is None:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    sys.argv = list(plan.arguments)
    module = type(sys)("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - runs the check's own script
    return 0


if __name__ == "__main__":
    main()
