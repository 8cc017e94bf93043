# mypy: ignore-errors
# Runs in the user's interpreter (3.9 or newer), without this package.
"""The fast way to screen a pytest candidate: collect once, then swap one function's code in a forked child.

pytest's own start costs 50 to 100 ms, most tests take under one. It is only used for functions that did not run while
the modules were imported, and what passes is run again from scratch.
"""

import gc
import os
import types

import pytest
from _pytest.runner import runtestprotocol

UNSUITABLE = 77


class Warm:
    """A pytest plugin: in place of the test loop it calls `screen(session)`, the failing tests first."""

    def __init__(self, tests, screen):
        self.tests = set(tests)
        self.screen = screen

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: item.nodeid not in self.tests)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if sum(item.nodeid in self.tests for item in session.items) == len(self.tests):
            self.screen(session)
        return True


def functions():
    """(real path, first line) → the function objects that run that code."""
    found = {}
    for function in gc.get_objects():
        if isinstance(function, types.FunctionType):
            code = function.__code__
            if os.path.isabs(code.co_filename):
                found.setdefault((os.path.realpath(code.co_filename), code.co_firstlineno), []).append(
                    function
                )
    return found


def try_function(session, targets, function, text):
    """Exit status of a child: `function` is `{"name", "line", "owner"}`, `text` its patched definition."""
    code = compiled(targets[0].__code__, function, text)
    if code is None or any(len(target.__code__.co_freevars) != len(code.co_freevars) for target in targets):
        return UNSUITABLE
    for target in targets:
        target.__code__ = code
    for item in session.items:
        if any(report.failed for report in runtestprotocol(item, nextitem=None, log=False)):
            return 1
    return 0


def compiled(old, function, text):
    """The code object of the patched definition, compiled as a member of its class so that names are mangled alike."""
    head = "class %s:\n" % function["owner"] if function["owner"] else "if 1:\n"
    if not text[:1].isspace() and not function["owner"]:
        head = "\n"
    padding = "\n" * max(0, function["line"] - 2)
    flags = old.co_flags & 0x1FE0000  # the __future__ features of the module
    module = compile(padding + head + text, old.co_filename, "exec", flags=flags, dont_inherit=True)
    return next((code for code in nested(module) if code.co_name == old.co_name), None)


def nested(code):
    """Code objects inside, outermost first."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    for constant in inner:
        yield constant
    for constant in inner:
        yield from nested(constant)
