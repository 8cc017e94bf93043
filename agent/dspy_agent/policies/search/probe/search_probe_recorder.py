# mypy: ignore-errors
# Runs in the user's interpreter (3.9 or newer), without this package.
"""Counts, per source line, how many passing and failing tests executed it, and keeps what the failures said.

The result is aggregated here, inside the sandbox, so that its size depends on the code and not on the number of tests.
"""

import json
import os
import sys
import threading

REPR_CHARACTERS = 400
MESSAGE_CHARACTERS = 4000
FRAMES = 16
FAILURES = 20
EXCLUDED = ("site-packages", "dist-packages", ".venv", ".tox", ".nox", ".search-probe")


def shorten(value):
    """A bounded repr; a `__repr__` that raises is the user's business, so its error is the answer."""
    try:
        text = repr(value)
    except Exception as error:  # the object under test may be half built, and its repr then fails
        text = "<repr failed: %s>" % type(error).__name__
    return text[:REPR_CHARACTERS]


class Recorder:
    """Traces lines of files below `root`; `begin` and `end` bracket a test, `failure` explains the current one."""

    def __init__(self, root, output):
        self.root = os.path.realpath(root)
        self.output = output
        self.relative = {}
        self.outside = set()
        self.current = self.outside
        self.test = None
        self.failed = None
        self.comparisons = []
        self.tests = {"passed": [], "failed": []}
        self.lines = {}
        self.failures = []
        self.check_files = set()

    def start(self):
        """Switch tracing on: `sys.monitoring` where Python has it (nearly free), `sys.settrace` elsewhere."""
        if hasattr(sys, "monitoring"):
            self._start_monitoring()
        else:
            threading.settrace(self._trace)
            sys.settrace(self._trace)

    def _start_monitoring(self):
        monitoring = sys.monitoring
        tool = next((number for number in (4, 3, 5) if monitoring.get_tool(number) is None), None)
        if tool is None:
            raise RuntimeError("every sys.monitoring tool id is taken")
        monitoring.use_tool_id(tool, "search-probe")

        def line(code, number):
            path = self._path(code.co_filename)
            if path:
                self.current.add((path, number))
            return monitoring.DISABLE

        monitoring.register_callback(tool, monitoring.events.LINE, line)
        monitoring.set_events(tool, monitoring.events.LINE)

    def _trace(self, frame, event, argument):
        path = self._path(frame.f_code.co_filename)
        if not path:
            return None
        add = self.current.add
        add((path, frame.f_lineno))

        def local(frame, event, argument):
            if event == "line":
                add((path, frame.f_lineno))
            return local

        return local

    def _path(self, filename):
        path = self.relative.get(filename)
        if path is None:
            path = self.relative[filename] = self._relative(filename)
        return path

    def _relative(self, filename):
        full = os.path.realpath(filename)
        if not full.startswith(self.root + os.sep) or not full.endswith(".py"):
            return ""
        path = os.path.relpath(full, self.root).replace(os.sep, "/")
        return "" if any(part in EXCLUDED for part in path.split("/")) else path

    def begin(self, test):
        """Start of a test: from here lines count for it."""
        self.test, self.failed, self.comparisons = test, None, []
        self.current = set()
        if hasattr(sys, "monitoring"):
            sys.monitoring.restart_events()
        elif sys.gettrace() is None:
            sys.settrace(self._trace)

    def end(self):
        """End of the current test: its lines are added to the counts."""
        failed = self.failed is not None
        self.tests["failed" if failed else "passed"].append(self.test)
        for place in self.current:
            counts = self.lines.setdefault(place, [0, 0])
            counts[0 if failed else 1] += 1
        self.current, self.test = self.outside, None

    def part_of_check(self, filename):
        """Remember a file that decides whether the check passes: to change it is no repair."""
        path = self._path(filename) if filename else ""
        if path:
            self.check_files.add(path)

    def defined_in(self, test_class):
        """The files of a test's class and of its bases are part of the check."""
        for kind in test_class.__mro__:
            self.part_of_check(getattr(sys.modules.get(kind.__module__), "__file__", None))

    def compare(self, operator, left, right):
        """Remember the two sides of a failing comparison."""
        sides = {"operator": operator, "left": shorten(left), "right": shorten(right)}
        sides["types"] = [type(left).__name__, type(right).__name__]
        self.comparisons.append(sides)

    def failure(self, test, error):
        """Why the test failed, from its exception."""
        self.failed = error
        if len(self.failures) < FAILURES:
            report = {"test": test, "comparisons": self.comparisons[-3:], "chain": []}
            while error is not None and len(report["chain"]) < 4:
                report["chain"].append(self._describe(error))
                error = error.__cause__ or error.__context__
            self.failures.append(report)

    def _describe(self, error):
        frames, trace = [], error.__traceback__
        while trace is not None:
            path = self._path(trace.tb_frame.f_code.co_filename)
            if path:
                frames.append(self._frame(path, trace))
            trace = trace.tb_next
        kinds = [kind.__name__ for kind in type(error).__mro__]
        message = str(error)[:MESSAGE_CHARACTERS]
        return {"type": kinds[0], "bases": kinds[1:], "message": message, "frames": frames[-FRAMES:]}

    def _frame(self, path, trace):
        names = list(trace.tb_frame.f_locals.items())[:40]
        values = {name: [type(value).__name__, shorten(value)] for name, value in names}
        function = trace.tb_frame.f_code.co_name
        return {"path": path, "line": trace.tb_lineno, "function": function, "locals": values}

    def write(self, mode, arguments):
        """Write the report as JSON; lines that no failing test reached are left out."""
        sys.settrace(None)
        self.part_of_check(getattr(sys.modules.get("__main__"), "__file__", None))
        files = {}
        for (path, line), (failed, passed) in self.lines.items():
            if failed:
                files.setdefault(path, {})[str(line)] = [failed, passed]
        outside = {}
        for path, line in self.outside:
            outside.setdefault(path, []).append(line)
        report = {
            "mode": mode,
            "arguments": arguments,
            "executable": sys.executable,
            "version": list(sys.version_info[:3]),
            "directory": os.path.relpath(os.getcwd(), self.root),
            "sys_path": [self._portable(entry) for entry in sys.path],
            "modules": sorted(self._preloadable()),
            "passed": len(self.tests["passed"]),
            "failed": self.tests["failed"],
            "lines": files,
            "outside": {path: sorted(lines) for path, lines in outside.items()},
            "check_files": sorted(self.check_files & (set(files) | set(outside))),
            "failures": self.failures,
        }
        with open(self.output, "w", encoding="utf-8") as stream:
            json.dump(report, stream)

    def _portable(self, entry):
        """Forks live at different paths: an entry below the root is written as `@/relative`."""
        full = os.path.realpath(entry)
        if full == self.root or full.startswith(self.root + os.sep):
            return "@/" + os.path.relpath(full, self.root)
        return full

    def _preloadable(self):
        """Modules of the standard library that the check loads, for the harness to load once."""
        standard = getattr(sys, "stdlib_module_names", ())
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] in standard and getattr(module, "__name__", None) == name:
                yield name
