"""Each tool: what it returns, what it refuses."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest
from dspy_agent.clients.fake_runner import FakeRunner
from dspy_agent.core.runner import MAIN, Runner
from dspy_agent.core.tools import ToolContext, default_tools
from dspy_agent.core.tools.base import is_protected
from dspy_agent.core.workspace import Workspace
from dspy_agent.errors import RunnerRequestError, ToolError

from tests.agent.conftest import BUGGY, FIXED, make_tool_context, write_files


def use(context: ToolContext, tool: str, **arguments: Any) -> dict[str, Any]:
    return default_tools()[tool].run(context, arguments)


def test_read_file_gives_a_range_of_lines(tool_context: ToolContext) -> None:
    value = use(tool_context, "read_file", path="last.py", start=2, end=2)
    assert value == {
        "path": "last.py",
        "content": "    return items[len(items)]\n",
        "lines": 2,
        "truncated": False,
    }


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "", "a/../../b", None, "a\0b"])
def test_paths_stay_in_the_workspace(tool_context: ToolContext, path: object) -> None:
    with pytest.raises(ToolError) as caught:
        use(tool_context, "read_file", path=path)
    assert caught.value.code == "PathInvalid"


def test_edit_replaces_what_occurs_once(tool_context: ToolContext) -> None:
    use(tool_context, "edit", path="last.py", old="[len(items)]", new="[len(items) - 1]")
    assert tool_context.workspace.read("last.py").decode() == FIXED
    diff = tool_context.workspace.diff()
    assert diff.files == ("last.py",)
    assert "+    return items[len(items) - 1]" in diff.patch


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"path": "last.py", "old": "items", "new": "x"}, "EditAmbiguous"),
        ({"path": "last.py", "old": "absent", "new": "x"}, "EditNotFound"),
        ({"path": "last.py", "old": "", "new": "x"}, "EditEmpty"),
        ({"path": "last.py"}, "ArgumentInvalid"),
        ({"path": "README.md", "content": "x"}, "PathProtected"),
    ],
)
def test_edit_refuses(fake_runner: FakeRunner, repo: Path, arguments: dict[str, str], code: str) -> None:
    context = make_tool_context(fake_runner, repo, protected=("*.md",))
    with pytest.raises(ToolError) as caught:
        use(context, "edit", **arguments)
    assert caught.value.code == code
    assert context.workspace.edits == {}


@pytest.mark.parametrize(
    ("path", "pattern", "protected"),
    [
        ("tests/a/b.py", "tests/**", True),
        ("tests/a/b.py", "tests/", True),
        ("tests/a/b.py", "tests", True),
        ("testsuite/b.py", "tests", False),
        ("pkg/test_a.py", "**/test_*.py", True),
        ("test_a.py", "**/test_*.py", True),
        ("poetry.lock", "*.lock", True),
        ("a.py", "**", True),
        ("a.py", "./a.py", True),
        ("a.py", "b.py", False),
    ],
)
def test_protected_patterns(path: str, pattern: str, protected: bool) -> None:
    assert is_protected(path, (pattern,)) is protected


def test_list_and_search(tool_context: ToolContext) -> None:
    assert use(tool_context, "list_files", glob="**/*.py")["files"] == ["last.py"]
    matches = use(tool_context, "search", pattern=r"def \w+")["matches"]
    assert matches == [{"path": "last.py", "line": 1, "text": "def last(items):"}]


def test_run_check_sees_the_edits(tool_context: ToolContext) -> None:
    assert use(tool_context, "run_check")["exit_code"] == 1
    use(tool_context, "edit", path="last.py", content=FIXED)
    assert use(tool_context, "run_check")["exit_code"] == 0
    assert tool_context.candidates_run == 2


def test_what_a_command_writes_is_thrown_away(tool_context: ToolContext) -> None:
    value = use(tool_context, "run", argv=[sys.executable, "-c", "open('left.txt', 'w').write('x')"])
    assert value["exit_code"] == 0
    assert use(tool_context, "list_files", glob="left.txt")["files"] == []


def test_trial_reports_each_candidate_in_order(tool_context: ToolContext) -> None:
    candidates = [
        {"edits": [{"path": "last.py", "content": content}]} for content in (BUGGY, FIXED, "syntax error(")
    ]
    value = use(tool_context, "trial", candidates=candidates)
    assert [result["exit_code"] for result in value["results"]] == [1, 0, 1]
    assert value["passed"] == [1]
    assert value["run"] == tool_context.candidates_run == 3
    assert tool_context.workspace.read("last.py").decode() == BUGGY


def test_a_screening_counts_what_its_process_tried(tool_context: ToolContext) -> None:
    program = (
        'lines = [\'{"index": 0, "outcome": "fail"}\', \'{"index": 1, "outcome": "pass"}\', \'[]\', \'{half\']\n'
        "open('answers', 'w').write('\\n'.join(lines))"
    )
    value = use(
        tool_context,
        "trial",
        candidates=[{"edits": []}],
        command=[sys.executable, "-c", program],
        collect=["answers"],
        purpose="screen",
        screening="answers",
    )
    assert value["screened"] == {"candidates": 2, "passed": 1}
    assert (value["run"], value["candidates"], tool_context.candidates_run) == (1, 2, 2)


def test_probes_and_verifications_try_nothing_new(tool_context: ToolContext) -> None:
    fixed = {"edits": [{"path": "last.py", "content": FIXED}]}
    use(tool_context, "trial", candidates=[{"edits": []}], purpose="probe")
    assert use(tool_context, "trial", candidates=[fixed], purpose="verify")["passed"] == [0]
    assert tool_context.candidates_run == 0


@pytest.mark.parametrize(
    "arguments", [{"purpose": "fun"}, {"purpose": "screen"}, {"purpose": "screen", "screening": "a"}]
)
def test_a_purpose_that_cannot_be_is_refused(tool_context: ToolContext, arguments: dict[str, str]) -> None:
    with pytest.raises(ToolError):
        use(tool_context, "trial", candidates=[{"edits": []}], **arguments)


def test_trial_stops_after_one_passed(tool_context: ToolContext) -> None:
    good = {"edits": [{"path": "last.py", "content": FIXED}]}
    value = use(tool_context, "trial", candidates=[good] * 5, stop_on_pass=True, concurrency=1)
    assert [result is not None for result in value["results"]] == [True, False, False, False, False]


def test_trial_probes_and_collects(tool_context: ToolContext) -> None:
    value = use(
        tool_context,
        "trial",
        candidates=[{"edits": []}],
        files=[
            {"path": ".probe/p.py", "content": "import os; open('out.txt', 'w').write(os.environ['WORD'])"}
        ],
        command=[sys.executable, ".probe/p.py"],
        env={"WORD": "measured"},
        collect=["out.txt", "absent.txt"],
    )
    assert value["results"][0]["collected"] == {"out.txt": "measured", "absent.txt": None}


def test_trial_deletes_files_and_bounds_output(tool_context: ToolContext) -> None:
    program = "import os; print(os.path.exists('README.md')); print('x' * 100_000)"
    value = use(
        tool_context,
        "trial",
        candidates=[{"edits": [{"path": "README.md", "content": None}]}],
        command=[sys.executable, "-c", program],
        keep_output_bytes=1000,
    )
    result = value["results"][0]
    assert len(result["stdout_tail"]) == 1000
    assert result["stdout_bytes"] > 100_000


def test_trial_refuses_protected_edits_but_not_probe_files(fake_runner: FakeRunner, repo: Path) -> None:
    write_files(repo, {"tests/test_a.py": ""})
    context = make_tool_context(fake_runner, repo, protected=("tests/",))
    item = {"path": "tests/test_a.py", "content": "pass"}
    assert use(context, "trial", candidates=[{"edits": []}], files=[item])["run"] == 1
    with pytest.raises(ToolError) as caught:
        use(context, "trial", candidates=[{"edits": [item]}])
    assert caught.value.code == "PathProtected"


@pytest.mark.parametrize("path", ["lib/t/test_a.py", "alias.py", "lib/t/new.py", "round/lib/t/test_a.py"])
def test_links_lead_to_no_protected_file(any_runner: Runner, repo: Path, path: str) -> None:
    write_files(repo, {"tests/test_a.py": "", "lib/a.py": ""})
    (repo / "lib/t").symlink_to("../tests")
    (repo / "alias.py").symlink_to("lib/t/test_a.py")
    (repo / "round").symlink_to(".")
    context = make_tool_context(any_runner, repo, protected=("tests/",))
    for tool, arguments in (
        ("edit", {"path": path, "content": "pass"}),
        ("trial", {"candidates": [{"edits": [{"path": path, "content": "pass"}]}]}),
    ):
        with pytest.raises(ToolError, match="tests/") as caught:
            use(context, tool, **arguments)
        assert caught.value.code == "PathProtected"
    assert context.workspace.diff().files == ()


def test_an_edit_through_a_link_is_an_edit_of_the_file(any_runner: Runner, repo: Path) -> None:
    """However the file is named, the newest content is what commands see."""
    (repo / "alias.py").symlink_to("last.py")
    context = make_tool_context(any_runner, repo)
    use(context, "edit", path="last.py", content="first")
    assert use(context, "edit", path="alias.py", content="second")["path"] == "last.py"
    use(context, "edit", path="last.py", content=FIXED)
    assert context.workspace.edits == {"last.py": FIXED.encode()}
    assert use(context, "run_check")["exit_code"] == 0


def test_links_in_a_circle_are_refused(tool_context: ToolContext) -> None:
    workspace = Workspace(tool_context.workspace.runner, {"a": "b", "b": "a"})
    with pytest.raises(ToolError):
        workspace.canonical("a/file")


@pytest.mark.parametrize(
    "call",
    [
        ("run", {"argv": ["/no/such/program"]}),
        ("trial", {"candidates": [{"edits": []}], "command": ["/no/such/program"]}),
        ("trial", {"candidates": [{"edits": [{"path": "absent", "content": None}]}]}),
    ],
)
def test_a_refused_request_leaves_no_fork_behind(
    tmp_path: Path, repo: Path, call: tuple[str, dict[str, Any]]
) -> None:
    runner = CountingRunner(tmp_path / "counting")
    context = make_tool_context(runner, repo)
    for _ in range(5):
        with pytest.raises(RunnerRequestError):
            use(context, call[0], **call[1])
    assert runner.forks == 2
    assert use(context, "run", argv=["cat", "last.py"])["stdout_tail"] == BUGGY


class CountingRunner(FakeRunner):
    """Knows how many forks it made."""

    forks = 0

    def fork(self, origin: str = MAIN) -> str:
        self.forks += 1
        return super().fork(origin)


@pytest.mark.parametrize(
    "arguments",
    [
        {"candidates": []},
        {"candidates": [{}]},
        {"candidates": "x"},
        {"candidates": [{"edits": [{"path": "a"}]}]},
        {"candidates": [{"edits": []}], "env": {"A": 1}},
        {"candidates": [{"edits": []}], "command": "true"},
        {"candidates": [{"edits": []}], "timeout_seconds": -1},
    ],
)
def test_trial_refuses_wrong_arguments(tool_context: ToolContext, arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolError) as caught:
        use(tool_context, "trial", **arguments)
    assert caught.value.code == "ArgumentInvalid"


VALID: dict[str, dict[str, Any]] = {
    "read_file": {"path": "last.py", "start": 1, "end": 2},
    "list_files": {"glob": "**"},
    "search": {"pattern": "def", "glob": "**"},
    "edit": {"path": "last.py", "content": FIXED, "old": "items", "new": "x"},
    "run": {"argv": ["true"], "timeout_seconds": 5},
    "run_check": {},
    "trial": {
        "candidates": [{"edits": []}],
        "files": [{"path": "a", "content": "x"}],
        "command": ["true"],
        "timeout_seconds": 5,
        "env": {"A": "b"},
        "keep_output_bytes": 10,
        "concurrency": 1,
        "collect": ["a"],
        "collect_limit_bytes": 10,
        "stop_on_pass": True,
        "purpose": "screen",
        "screening": "a",
    },
}
HALF = "\ud800"
ODD: list[Any] = [
    5,
    0.5,
    0,
    -1,
    True,
    float("inf"),
    float("nan"),
    1e300,
    10**400,
    HALF,
    "",
    "a\0b",
    [],
    [5],
    [[]],
]
ODD += ["x" * 100_000, [HALF], {}, {"a": 1}, {HALF: "x"}, {"x": HALF}, [{"path": HALF, "content": "x"}]]
ODD += [
    [{"path": "a", "content": HALF}],
    [{"edits": [{"path": "a", "content": HALF}]}],
    [{"edits": 5}],
    [None],
]


@pytest.mark.parametrize(
    ("tool", "name"), [(tool, name) for tool, arguments in VALID.items() for name in arguments]
)
def test_whatever_a_model_gives_is_answered(any_runner: Runner, repo: Path, tool: str, name: str) -> None:
    """What a tool raises besides refusals ends the process, and again after each restart."""
    tool_context = make_tool_context(any_runner, repo)
    assert use(tool_context, tool, **VALID[tool])
    for value in ODD:
        with contextlib.suppress(ToolError, RunnerRequestError):
            use(tool_context, tool, **{**VALID[tool], name: value})


@pytest.mark.parametrize(
    "arguments",
    [
        {"collect": 5},
        {"concurrency": 0.5},
        {"concurrency": 65},
        {"keep_output_bytes": float("inf")},
        {"collect_limit_bytes": 10**400},
        {"timeout_seconds": float("nan")},
        {"env": {"A": HALF}},
    ],
)
def test_trial_takes_numbers_and_text_within_bounds(
    tool_context: ToolContext, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ToolError) as caught:
        use(tool_context, "trial", candidates=[{"edits": []}], **arguments)
    assert caught.value.code == "ArgumentInvalid"


def test_a_spent_time_budget_starts_no_candidate(tool_context: ToolContext) -> None:
    tool_context.seconds_left = lambda: 0.0
    assert use(tool_context, "trial", candidates=[{"edits": []}]) == {
        "results": [None],
        "run": 0,
        "passed": [],
        "candidates": 0,
    }
