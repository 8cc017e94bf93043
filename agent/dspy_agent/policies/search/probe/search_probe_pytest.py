# mypy: ignore-errors
# Runs in the user's interpreter (3.9 or newer), without this package.
"""The pytest plugin of the probe, loaded through PYTEST_ADDOPTS."""

import os
import sys

import pytest

from search_probe_recorder import Recorder


class Plugin:
    """Brackets every test, notes failures and both sides of failing comparisons."""

    def __init__(self, recorder):
        self.recorder = recorder

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        self.recorder.begin(item.nodeid)
        self.part_of_check(item)
        yield
        self.recorder.end()

    def part_of_check(self, node):
        """A node's id is relative to pytest's root folder, which need not be ours: its file is what counts."""
        self.recorder.part_of_check(str(getattr(node, "path", None) or node.fspath))
        if getattr(node, "cls", None) is not None:
            self.recorder.defined_in(node.cls)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        if outcome.get_result().failed and call.excinfo is not None:
            self.recorder.failure(item.nodeid, call.excinfo.value)

    def pytest_exception_interact(self, node, call, report):
        """A test module that cannot be imported counts as one failing test."""
        if isinstance(node, pytest.Collector) and call.excinfo is not None:
            self.recorder.test = node.nodeid
            self.part_of_check(node)
            self.recorder.failure(node.nodeid, call.excinfo.value)
            self.recorder.current = set(self.recorder.outside)
            self.recorder.end()

    @pytest.hookimpl(tryfirst=True)
    def pytest_assertrepr_compare(self, config, op, left, right):
        self.recorder.compare(op, left, right)

    def pytest_sessionfinish(self, session):
        self.recorder.write("pytest", list(session.config.invocation_params.args))


def pytest_configure(config):
    """Record the outermost pytest only: the first to create the output file owns it."""
    output = os.environ.get("SEARCH_PROBE_OUTPUT")
    if not output:
        return
    try:
        os.close(os.open(output, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    recorder = Recorder(os.environ["SEARCH_PROBE_ROOT"], output)
    recorder.start()
    config.pluginmanager.register(Plugin(recorder), "search-probe")
    sys.modules.pop("search_probe_unittest", None)
