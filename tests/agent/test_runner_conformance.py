"""What a session expects of a runner, on the fake and on the real one."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import pytest
from dspy_agent.clients.http import trace_headers
from dspy_agent.core.runner import Command, Runner
from dspy_agent.errors import CannotStart, RunnerLost, RunnerRequestError
from dspy_agent.local_runner import local_runner

from tests.agent.conftest import BUGGY, FIXED, load, write_files


@pytest.fixture
def runner(any_runner: Runner, repo: Path) -> Runner:
    write_files(repo, {"src/deep/a.py": "one\ntwo\n"})
    load(any_runner, repo)
    return any_runner


def python(program: str, **options: object) -> Command:
    return Command((sys.executable, "-c", program), **options)  # type: ignore[arg-type]


def test_a_command_reports_how_it_ended(runner: Runner) -> None:
    result = runner.execute(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert (result.exit_code, result.signal, result.reason) == (3, None, "NonZeroExit")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert (result.stdout_bytes, result.stderr_bytes) == (4, 4)
    assert runner.execute(python("pass")).reason == "Completed"


def test_environment_and_folder_are_set(runner: Runner) -> None:
    program = "import os; print(os.environ['WORD'], os.path.basename(os.getcwd()))"
    result = runner.execute(python(program, env={"WORD": "x"}, cwd="src"))
    assert result.stdout == "x src\n"


def test_commands_belong_to_the_agents_trace(runner_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real runner hands the request's `traceparent` to the command: the trace arrives where the work is done."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    monkeypatch.setenv("TRACEPARENT", trace)
    with local_runner() as client:
        assert client.execute(python("import os; print(os.environ['TRACEPARENT'])")).stdout.strip() == trace
    monkeypatch.setenv("TRACEPARENT", "not a trace")
    assert trace_headers() == {}


def test_a_command_that_never_ends_is_stopped(runner: Runner) -> None:
    result = runner.execute(
        python("import time; print('a', flush=True); time.sleep(60)", timeout_seconds=0.5)
    )
    assert (result.exit_code, result.reason, result.stdout) == (None, "TimedOut", "a\n")
    assert result.seconds < 10


def test_a_killed_command_names_its_signal(runner: Runner) -> None:
    result = runner.execute(python("import os; os.kill(os.getpid(), 9)"))
    assert (result.exit_code, result.signal, result.reason) == (None, 9, "Signaled")


@pytest.mark.parametrize("command", [Command(("/no/such/program",)), Command(("true",), cwd="absent")])
def test_what_is_missing_cannot_start(runner: Runner, command: Command) -> None:
    with pytest.raises(CannotStart):
        runner.execute(command)


def test_output_is_bounded_but_counted(runner: Runner) -> None:
    result = runner.execute(python("print('x' * 100_000 + 'END')", output_limit_bytes=2000))
    assert len(result.stdout) < 2300
    assert result.stdout.endswith("END\n")
    assert result.stdout_bytes == 100_004


def test_files_are_listed_read_written_and_deleted(runner: Runner) -> None:
    files, truncated = runner.list_files("**/*.py", 10)
    assert sorted(file.path for file in files) == ["last.py", "src/deep/a.py"]
    assert not truncated
    assert runner.list_files("**", 1)[1]
    runner.write_file("new/file.txt", b"\x00bytes")
    assert runner.read_file("new/file.txt") == b"\x00bytes"
    runner.delete_file("new/file.txt")
    for action in (runner.read_file, runner.delete_file):
        with pytest.raises(RunnerRequestError) as caught:
            action("new/file.txt")
        assert caught.value.code == "FileNotFound"


def test_lines_are_found(runner: Runner) -> None:
    matches, _ = runner.search(r"^t.o$", "**/*.py", 10)
    assert [(match.path, match.line, match.text) for match in matches] == [("src/deep/a.py", 2, "two")]
    with pytest.raises(RunnerRequestError):
        runner.search("(", "**", 10)


def test_a_fork_is_apart_and_resets(runner: Runner) -> None:
    fork = runner.fork()
    runner.write_file("last.py", FIXED.encode(), fork)
    runner.execute(python("open('left.txt', 'w').write('x'); import os; os.remove('README.md')"), fork)
    assert runner.read_file("last.py").decode() == BUGGY
    runner.reset_fork(fork)
    assert runner.read_file("last.py", fork).decode() == BUGGY
    assert sorted(file.path for file in runner.list_files("**", 10, fork)[0]) == [
        "README.md",
        "last.py",
        "src/deep/a.py",
    ]
    runner.delete_fork(fork)
    with pytest.raises(RunnerLost):
        runner.read_file("last.py", fork)


def test_a_fork_of_a_fork_keeps_the_base_when_main_changes(runner: Runner) -> None:
    base = runner.fork()
    runner.write_file("last.py", FIXED.encode())
    fork = runner.fork(base)
    assert runner.read_file("last.py", fork).decode() == BUGGY
    diff = runner.diff(base)
    assert diff.files == ("last.py",)
    assert "-    return items[len(items)]\n+    return items[len(items) - 1]\n" in diff.patch


def test_a_diff_shows_new_and_deleted_files(runner: Runner) -> None:
    base = runner.fork()
    runner.write_file("added.txt", b"new\n")
    runner.delete_file("README.md")
    diff = runner.diff(base)
    assert set(diff.files) == {"added.txt", "README.md"}
    assert "+new\n" in diff.patch
    assert "-A list helper.\n" in diff.patch


def test_an_escaping_archive_is_refused(runner: Runner) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(RunnerRequestError) as caught:
        runner.put_archive(io.BytesIO(buffer.getvalue()))
    assert caught.value.code == "ArchiveEscapes"


def test_an_archive_replaces_everything(runner: Runner, tmp_path: Path) -> None:
    write_files(tmp_path / "other", {"only.txt": "x"})
    load(runner, tmp_path / "other")
    assert [file.path for file in runner.list_files("**", 10)[0]] == ["only.txt"]
    assert runner.max_concurrent() >= 1
