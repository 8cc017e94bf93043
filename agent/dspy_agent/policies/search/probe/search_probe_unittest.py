# mypy: ignore-errors
# Runs in the user's interpreter (3.9 or newer), without this package.
"""Records `python -m unittest`, scripts that call `unittest.main()`, and scripts without any tests."""

import atexit
import os
import sys
import unittest

from search_probe_recorder import Recorder


def install():
    """Hook unittest's cases and results; a script without cases is one failing test."""
    recorder = Recorder(os.environ["SEARCH_PROBE_ROOT"], os.environ["SEARCH_PROBE_OUTPUT"])
    _hook_run(recorder)
    _hook_results(recorder)
    _hook_comparison(recorder)
    _hook_script(recorder)
    recorder.start()


def _hook_run(recorder):
    original = unittest.TestCase.run

    def run(self, result=None):
        recorder.begin(self.id())
        recorder.defined_in(type(self))
        try:
            return original(self, result)
        finally:
            recorder.end()

    unittest.TestCase.run = run


def _hook_results(recorder):
    def hook(name):
        original = getattr(unittest.TestResult, name)

        def add(self, test, *arguments):
            error = arguments[-1]
            if error is not None:
                recorder.failure(test.id(), error[1])
            return original(self, test, *arguments)

        setattr(unittest.TestResult, name, add)

    for name in ("addError", "addFailure", "addSubTest"):
        hook(name)


def _hook_comparison(recorder):
    original = unittest.TestCase.assertEqual

    def assert_equal(self, first, second, msg=None):
        if not first == second:
            recorder.compare("==", first, second)
        return original(self, first, second, msg)

    unittest.TestCase.assertEqual = assert_equal


def _hook_script(recorder):
    original = sys.excepthook

    def excepthook(kind, error, trace):
        recorder.failure("script", error)
        original(kind, error, trace)

    sys.excepthook = excepthook
    atexit.register(_finish, recorder)


def _finish(recorder):
    mode = "unittest"
    if not recorder.tests["passed"] and not recorder.tests["failed"]:
        mode = "script"
        recorder.test, recorder.current = "script", set(recorder.outside)
        recorder.failed = recorder.failed or SystemExit()
        recorder.end()
    arguments = sys.orig_argv[1:]
    recorder.write(mode, arguments)
