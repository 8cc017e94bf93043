"""End to end: real processes, real tools, small programs with one bug each."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dspy_agent.clients.fake_runner import FakeRunner
from dspy_agent.core.runner import MAIN
from dspy_agent.errors import RunnerRequestError
from dspy_agent.policies.search import probe

_spec = importlib.util.spec_from_file_location("search_support", Path(__file__).with_name("support.py"))
assert _spec
assert _spec.loader
support: ModuleType = importlib.util.module_from_spec(_spec)
sys.modules["search_support"] = support
_spec.loader.exec_module(support)

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
CLAMP = """
def clamp(value, low=None, high=None):
    if low and value < low:
        return low
    if high is not None and value > high:
        return high
    return value
"""
CLAMP_TESTS = """
from clamp import clamp

def test_high():
    assert clamp(5, 1, 3) == 3

def test_inside():
    assert clamp(2, 1, 3) == 2

def test_zero():
    assert clamp(-5, 0, 3) == 0
"""
CLAMP_UNITTEST = """
import unittest
from clamp import clamp

class Clamp(unittest.TestCase):
    def test_high(self):
        self.assertEqual(clamp(5, 1, 3), 3)

    def test_zero(self):
        self.assertEqual(clamp(-5, 0, 3), 0)

if __name__ == "__main__":
    unittest.main()
"""
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def bare_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks need none of the plugins of this environment, and each costs start-up time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_pytest_check(tmp_path: Path) -> None:
    session = support.repair(tmp_path, {"clamp.py": CLAMP, "test_clamp.py": CLAMP_TESTS}, PYTEST)
    assert session.finish.reason == "Done"
    assert "+    if low is not None and value < low:" in session.patch


def test_unittest_check(tmp_path: Path) -> None:
    check = (sys.executable, "-m", "unittest", "test_clamp")
    session = support.repair(tmp_path, {"clamp.py": CLAMP, "test_clamp.py": CLAMP_UNITTEST}, check)
    assert session.finish.reason == "Done"
    assert "clamp.py" in session.finish.summary


def test_script_of_unittests(tmp_path: Path) -> None:
    files = {"clamp.py": CLAMP, "test_clamp.py": CLAMP_UNITTEST}
    assert support.repair(tmp_path, files, (sys.executable, "test_clamp.py")).finish.reason == "Done"


def test_plain_script(tmp_path: Path) -> None:
    files = {"clamp.py": CLAMP, "test_clamp.py": "from clamp import clamp\nassert clamp(-5, 0, 3) == 0\n"}
    assert support.repair(tmp_path, files, (sys.executable, "test_clamp.py")).finish.reason == "Done"


ASSERTION = "from clamp import clamp\nlowest = clamp(-5, 0, 3)\nif lowest != 0:\n    raise SystemExit(1)\n"
HOPELESS_CLAMP = "def clamp(value, low, high):\n    return NotImplemented\n"
CHECKS = CLAMP_UNITTEST.replace("unittest.TestCase", "CheckBase").replace(
    "import unittest", "from base import CheckBase"
)
BASE = """
import unittest

class CheckBase(unittest.TestCase):
    def assertEqual(self, one, other):
        assert one == other
"""


@pytest.mark.parametrize(
    ("files", "check"),
    [
        ({"check.py": ASSERTION}, ("check.py",)),
        ({"check.py": ASSERTION}, ("-W", "ignore", "-m", "check")),
        ({"checks.py": CLAMP_UNITTEST}, ("-m", "unittest", "checks")),
        ({"checks.py": CHECKS, "base.py": BASE}, ("-m", "unittest", "checks")),
        (
            {"sub/pytest.ini": "[pytest]\npython_files = checks.py\n", "sub/checks.py": CLAMP_TESTS},
            (*PYTEST[1:], "sub"),
        ),
    ],
)
def test_the_check_itself_is_never_edited(
    tmp_path: Path, files: dict[str, str], check: tuple[str, ...]
) -> None:
    """Nothing is protected, and the program is far from right: a change of the check is the easy way out."""
    session = support.repair(tmp_path, {"clamp.py": HOPELESS_CLAMP, **files}, (sys.executable, *check))
    assert edited_paths(session) == {"clamp.py"}


def test_a_check_without_protection_is_repaired_in_the_program(tmp_path: Path) -> None:
    for name, files, check in (
        ("script", {"check.py": ASSERTION}, ("check.py",)),
        ("unittest", {"checks.py": CLAMP_UNITTEST}, ("-m", "unittest", "checks")),
    ):
        session = support.repair(tmp_path / name, {"clamp.py": CLAMP, **files}, (sys.executable, *check))
        assert session.finish.reason == "Done"
        assert edited_paths(session) == {"clamp.py"}
        assert session.patch.count("diff --git") == 1
        assert "diff --git a/clamp.py" in session.patch


def test_protected_paths_are_patterns(tmp_path: Path) -> None:
    """The wrong bound is in one of two files that look alike: the protected one is left alone."""
    files = {
        "vendor/low.py": "def at_least(value, low):\n    return low if value < low else value\n",
        "high.py": "def at_most(value, high):\n    return high if value < high else value\n",
        "test_range.py": "from high import at_most\nfrom vendor.low import at_least\n\n"
        "def test_range():\n    assert at_most(at_least(5, 1), 3) == 3\n    assert at_most(at_least(-5, 1), 3) == 1\n",
    }
    session = support.repair(tmp_path, files, PYTEST, protected=("vendor/**", "test_*.py"))
    assert session.finish.reason == "Done"
    assert edited_paths(session) == {"high.py"}


class Picky(FakeRunner):
    """Takes the file that is to be repaired, but never with the content that it is offered first."""

    refused: bytes | None = None

    def write_file(self, path: str, content: bytes, workspace: str = MAIN) -> None:
        if path == "clamp.py" and workspace != MAIN:
            self.refused = self.refused or content
            if content == self.refused:
                raise RunnerRequestError("BadRequest", "`clamp.py` cannot be written.", 400)
        super().write_file(path, content, workspace)


def test_a_candidate_that_cannot_be_tried_leaves_the_others_of_its_batch(tmp_path: Path) -> None:
    files = {"clamp.py": CLAMP, "test_clamp.py": CLAMP_TESTS}
    session = support.repair(tmp_path, files, PYTEST, kind=Picky)
    verified = [
        (call.arguments["candidates"], observation.ok)
        for call, observation in session.steps
        if call.arguments.get("purpose") == "verify"
    ]
    batch, accepted = verified[0]
    assert not accepted
    assert [candidates for candidates, _ in verified[1 : 1 + len(batch)]] == [[item] for item in batch]
    assert [accepted for _, accepted in verified[1:]] == [False] + [True] * (len(verified) - 2)
    assert session.finish.reason == "Done"


def edited_paths(session: Any) -> set[str]:
    """Files that candidates of the session changed, in forks of their own or in a screening."""
    plans = [
        json.loads(file["content"])["candidates"]
        for call, _ in session.steps
        for file in call.arguments.get("files", ())
        if file["path"] == probe.PLAN
    ]
    tried = [item for call, _ in session.steps for item in call.arguments.get("candidates", ())]
    return {item["path"] for plan in plans for item in plan} | {
        edit["path"] for item in tried for edit in item["edits"]
    }


def test_wrapped_check(tmp_path: Path) -> None:
    check = ("env", "COLUMNS=80", *PYTEST)
    session = support.repair(tmp_path, {"clamp.py": CLAMP, "test_clamp.py": CLAMP_TESTS}, check)
    assert session.finish.reason == "Done"


def test_module_level_pattern(tmp_path: Path) -> None:
    """Runs at import, outside every test: found through the function that reads it."""
    files = {
        "version.py": "import re\n\nVERSION = re.compile(r'^(\\d+)\\.(\\d)$')\n\n\ndef parse(text):\n"
        "    found = VERSION.match(text)\n    return tuple(map(int, found.groups())) if found else None\n",
        "test_version.py": "from version import parse\n\ndef test_short():\n    assert parse('1.2') == (1, 2)\n\n"
        "def test_none():\n    assert parse('x') is None\n\ndef test_long():\n    assert parse('1.23') == (1, 23)\n",
    }
    session = support.repair(tmp_path, files, PYTEST)
    assert session.finish.reason == "Done"
    assert "VERSION = re.compile" in session.patch


def test_endless_candidates_are_cut(tmp_path: Path) -> None:
    files = {
        "count.py": "def count(limit):\n    number = 0\n    while number < limit - 1:\n        number += 1\n"
        "    return number\n",
        "test_count.py": "from count import count\n\ndef test_three():\n    assert count(3) == 3\n",
    }
    assert support.repair(tmp_path, files, PYTEST).finish.reason == "Done"


def test_check_without_python_is_refused(tmp_path: Path) -> None:
    session = support.repair(tmp_path, {"a.txt": "a"}, ("false",))
    assert session.finish.reason == "PolicyGaveUp"
    assert "Python tests" in session.finish.summary


def test_unparsable_program_is_refused(tmp_path: Path) -> None:
    files = {"old.py": "print 'two'\n", "test_old.py": "def test_old():\n    import old\n"}
    session = support.repair(tmp_path, files, PYTEST)
    assert session.finish.reason == "PolicyGaveUp"


REPLAY = """
import json, sys
from dspy_agent.core.policy import Context, Observation, Task
from dspy_agent.policies.search import SearchPolicy

check, observations = json.load(sys.stdin)
steps = SearchPolicy(600).steps(Task("Make the check pass.", tuple(check), 30), Context({}))
calls = [next(steps)]
for ok, value in observations[:-1]:
    calls.append(steps.send(Observation(ok, value)))
print(json.dumps([[call.tool, call.arguments] for call in calls]))
"""


def test_same_observations_give_the_same_calls(tmp_path: Path) -> None:
    """A restarted session replays its log in a process with another order of sets: every call must come out again."""
    session = support.repair(tmp_path, {"clamp.py": CLAMP, "test_clamp.py": CLAMP_TESTS}, PYTEST)
    recorded = json.dumps([[call.tool, call.arguments] for call, _ in session.steps])
    told = json.dumps([PYTEST, [[observation.ok, observation.value] for _, observation in session.steps]])
    for seed in ("1", "2"):
        replayed = subprocess.run(
            [sys.executable, "-c", REPLAY],
            input=told,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert json.loads(replayed.stdout) == json.loads(recorded)
