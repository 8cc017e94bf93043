"""Screens many candidates in one process: `python search_probe_harness.py PLAN RESULTS`.

Starting Python and importing pytest costs far more than most tests, so that is done once; then every candidate gets a
forked child whose imports see the patched text of the edited files. The files on disk never change. A candidate that
passes here is only plausible: the policy still runs the user's own check, unmodified, on it.
"""

import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from importlib.machinery import SourceFileLoader

MEMORY_BYTES = 2 << 30
NOT_PATHS_AFTER = {"-c", "-k", "-m", "-n", "-o", "-p", "-r", "-W", "--basetemp", "--confcutdir", "--deselect"}
NOT_PATHS_AFTER |= {"--ignore", "--import-mode", "--junitxml", "--maxfail", "--rootdir", "--tb", "--timeout"}


class Plan:
    """The plan file: how the check ran (mode, arguments, directory, sys_path), which tests failed, the candidates."""

    def __init__(self, values):
        self.__dict__.update(values)


def main():
    """Read the plan, load once, run the candidates."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        plan = Plan(json.load(stream))
    results = open(os.path.abspath(sys.argv[2]), "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    prepare(plan)
    run_all(plan, results)


def prepare(plan):
    """Restore the check's own import path and load what it is known to load from the standard library."""
    root = os.getcwd()
    sys.path[:] = [os.path.join(root, entry[2:]) if entry.startswith("@/") else entry for entry in plan.sys_path]
    plan.sources = {}
    for path in plan.paths:
        with open(path, encoding="utf-8", newline="") as stream:
            plan.sources[path] = stream.read()
    plan.root = root
    os.chdir(plan.directory)
    for name in plan.modules:
        try:
            importlib.import_module(name)
        except ImportError:  # a private module of another platform: the child imports what it really needs
            continue
    if plan.mode == "pytest":
        importlib.import_module("pytest")
        for name in ("_pytest.assertion.rewrite", "_pytest.fixtures", "_pytest.terminal", "_pytest.python"):
            importlib.import_module(name)


def run_all(plan, results):
    """Keep `jobs` children busy until the candidates, the seconds or the wanted number of passes are used up."""
    running, waiting = {}, list(enumerate(plan.candidates))
    poll = select.poll()
    stop, passes = time.monotonic() + plan.seconds, 0
    while running or waiting:
        enough = time.monotonic() > stop or passes >= plan.passes
        if enough:
            waiting = []
        while waiting and len(running) < plan.jobs:
            index, candidate = waiting.pop(0)
            start(plan, index, candidate, plan.timeout, True, running, poll)
        if not running:
            break
        deadline = min(child[3] for child in running.values())
        for handle, _ in poll.poll(max(0, deadline - time.monotonic()) * 1000 + 1):
            outcome, index, candidate, focused = reap(handle, running, poll)
            if outcome == "pass" and focused and plan.passing_tests:
                start(plan, index, candidate, plan.full_timeout, False, running, poll)
                continue
            passes += outcome == "pass"
            report(results, index, outcome, focused)
        for handle in [handle for handle, child in running.items() if child[3] < time.monotonic()]:
            os.killpg(running[handle][0], signal.SIGKILL)
            _, index, _, focused = reap(handle, running, poll)
            report(results, index, "timeout", focused)


def report(results, index, outcome, focused):
    """One JSON line, flushed at once: a harness that is cut short leaves what it had."""
    results.write(json.dumps({"index": index, "outcome": outcome, "focused": focused}) + "\n")
    results.flush()


def start(plan, index, candidate, seconds, focused, running, poll):
    """Fork a child for a candidate; focused means the failing tests only."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run_child(plan, candidate, focused)
        finally:
            os._exit(code)
    try:
        os.setpgid(child, child)
    except OSError:  # the child did it first, or is gone already
        pass
    handle = os.pidfd_open(child)
    poll.register(handle, select.POLLIN)
    running[handle] = (child, index, candidate, time.monotonic() + seconds, focused)


def reap(handle, running, poll):
    """Collect a child and whatever it left running."""
    child, index, candidate, _, focused = running.pop(handle)
    poll.unregister(handle)
    os.close(handle)
    _, status = os.waitpid(child, 0)
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:  # nothing is left of the group
        pass
    return ("pass" if status == 0 else "fail"), index, candidate, focused


def run_child(plan, candidate, focused):
    """The candidate's exit status, 0 for success; never returns an exception to the parent's frames."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    patched = {os.path.join(plan.root, path): apply(plan.sources[path], edits) for path, edits in candidate.items()}
    serve(patched)
    try:
        runner = {"pytest": run_pytest, "unittest": run_unittest, "script": run_script}[plan.mode]
        return runner(plan, patched, focused)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - whatever the candidate raises, it failed
        return 1


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
    return int(pytest.main([*arguments, "-x", "-p", "no:cacheprovider"], plugins=[Only(plan.tests)] if focused else []))


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
        program = unittest.main(module=None, argv=["unittest", *plan.arguments[2:]], exit=False, failfast=True)
        return 0 if program.result.wasSuccessful() and program.result.testsRun else 1
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
