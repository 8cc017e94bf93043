"""`dspy-agent solve` as a person runs it: a process, the real runner, exit codes, and a work tree left alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dspy_agent.cli.apply import apply_edits
from dspy_agent.core.runner import Command
from dspy_agent.errors import UsageError
from dspy_agent.local_runner import find_runner, local_runner

from tests.agent.conftest import BUGGY, CHECK, FIXED, write_files
from tests.agent.scripted_endpoint import ScriptedEndpoint
from tests.e2e.cluster_servers import SCRIPTED_ENDPOINT
from tests.e2e.manifests import BUGGY_FILES, PYTEST

pytestmark = pytest.mark.timeout(120)
CHECK_TEXT = f"{CHECK[0]} -c 'import last; assert last.last([1, 2]) == 2'"


def command(repo: Path, *words: str, check: str = CHECK_TEXT) -> list[str]:
    return [sys.executable, "-m", "dspy_agent.cli", "solve", "--repo", str(repo), "--check", check, *words]


def llm(endpoint: ScriptedEndpoint) -> list[str]:
    words = [
        "--policy",
        "llm",
        "--endpoint",
        endpoint.url,
        "--model",
        "scripted",
        "--api-key-env",
        "TEST_KEY",
    ]
    os.environ["TEST_KEY"] = "secret-key"
    return words


def run(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, **environment}
    )


def test_solve_prints_the_diff_and_applies_on_request(
    endpoint: ScriptedEndpoint, runner_binary: Path, repo: Path
) -> None:
    done = run(command(repo, *llm(endpoint)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("diff --git a/last.py b/last.py")
    assert "Solved (CheckPassed)" in done.stderr
    assert (repo / "last.py").read_text() == BUGGY

    (repo / "last.py").chmod(0o755)
    done = run(command(repo, *llm(endpoint), "--apply", "--json"))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["outcome"], result["check_exit_code"], result["candidates_run"]) == ("Solved", 0, 1)
    assert (repo / "last.py").read_text() == FIXED
    assert (repo / "last.py").stat().st_mode & 0o777 == 0o755


def test_a_screening_is_told_truthfully(runner_binary: Path, tmp_path: Path) -> None:
    """Hundreds of edits run in one process: the result and the story count edits, not processes."""
    write_files(tmp_path / "repo", BUGGY_FILES)
    check = f"{sys.executable} -m pytest -q -p no:cacheprovider test_pages.py"
    done = run(
        command(tmp_path / "repo", "--json", "--protect", "test_*.py", check=check),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    screened = re.search(r"screened (\d+) candidate edits in one process", done.stderr)
    assert screened, done.stderr
    assert result["candidates_run"] == int(screened[1]) > 10
    assert "the check passes with candidate" in done.stderr
    assert "ran the check with the probe" in done.stderr


def test_the_endpoint_of_the_cluster_tests_repairs_their_program(runner_binary: Path, tmp_path: Path) -> None:
    """As the pod of the end-to-end tests runs it: a plain process, standard library only, with a key."""
    write_files(tmp_path / "repo", BUGGY_FILES)
    argv = ["/usr/bin/env", "python3", "-S", "-E", str(SCRIPTED_ENDPOINT), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            url = served.stdout.readline().split()[-1]
            words = ["--policy", "llm", "--endpoint", url, "--model", "scripted", "--api-key-env", "TEST_KEY"]
            check = f"{sys.executable} {' '.join(PYTEST[1:])}"
            plain = command(tmp_path / "repo", *words, "--protect", "test_*.py", "--json", check=check)
            done = run(plain, TEST_KEY="secret-key")
            refused = run(plain, TEST_KEY="another")
        finally:
            served.terminate()
    assert done.returncode == 0, done.stderr
    assert "+    if items % per_page > 0:" in json.loads(done.stdout)["patch"]
    assert json.loads(refused.stdout)["reason"] == "PolicyEndpointRefused"
    assert "secret-key" not in done.stdout + done.stderr


def test_unsolved_exits_1_and_leaves_the_tree_alone(
    endpoint: ScriptedEndpoint, runner_binary: Path, repo: Path
) -> None:
    """Three turns: the third one edits, and the check that would tell comes after it."""
    check = f"{CHECK[0]} -c 'import last; assert last.last([1, 2]) == 3'"
    done = run(command(repo, *llm(endpoint), "--budget-turns", "4", "--json", "--apply", check=check))
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert (result["outcome"], result["reason"]) == ("Unsolved", "BudgetExhausted")
    assert "items[len(items) - 1]" in result["patch"]
    assert result["check_exit_code"] == 1
    assert result["seconds"] > 0
    assert (repo / "last.py").read_text() == BUGGY


def test_the_budgets_seconds_end_a_run(endpoint: ScriptedEndpoint, runner_binary: Path, repo: Path) -> None:
    endpoint.speaks.clear()
    done = run(command(repo, *llm(endpoint), "--budget-seconds", "3", "--json"))
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert (result["reason"], result["patch"]) == ("BudgetExhausted", "")
    assert result["seconds"] >= 3


@pytest.mark.parametrize(
    ("replacement", "told"), [("def last(items): ...\n", "last.py changed"), (None, "Is a directory")]
)
def test_what_changed_meanwhile_is_not_overwritten_and_the_repair_is_not_lost(
    endpoint: ScriptedEndpoint, runner_binary: Path, repo: Path, replacement: str | None, told: str
) -> None:
    endpoint.speaks.clear()
    words = command(repo, *llm(endpoint), "--apply", "--json")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert endpoint.asked.wait(60)
        (repo / "last.py").unlink()
        if replacement:
            (repo / "last.py").write_text(replacement)
        else:
            (repo / "last.py").mkdir()
        endpoint.speaks.set()
        out, said = process.communicate(timeout=100)
    assert process.returncode == 2, said
    assert json.loads(out)["outcome"] == "Solved"
    assert told in said
    assert "Traceback" not in said
    if replacement:
        assert (repo / "last.py").read_text() == replacement


def test_edits_stay_in_the_repository_and_may_delete(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    write_files(repo, {"old.py": "old", "kept.py": "kept"})
    write_files(tmp_path, {"outside.py": "outside"})
    (repo / "out").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="leads out"):
        apply_edits(
            repo, {"kept.py": b"new", "out/outside.py": b"new"}, {"kept.py": b"kept", "out/outside.py": None}
        )
    assert (repo / "kept.py").read_text() == "kept"
    apply_edits(repo, {"old.py": None, "new/a.py": b"a"}, {"old.py": b"old", "new/a.py": None})
    assert not (repo / "old.py").exists()
    assert (repo / "new/a.py").read_text() == "a"
    with pytest.raises(UsageError, match=r"new/a\.py changed"):
        apply_edits(repo, {"kept.py": b"new", "new/a.py": b"b"}, {"kept.py": b"kept", "new/a.py": None})
    assert (repo / "kept.py").read_text() == "kept"
    assert (tmp_path / "outside.py").read_text() == "outside"


@pytest.mark.parametrize(
    ("check", "reason"), [("true", "CheckAlreadyPasses"), ("/no/such/check", "CheckCannotStart")]
)
def test_a_check_that_cannot_work_exits_2(runner_binary: Path, repo: Path, check: str, reason: str) -> None:
    done = run(command(repo, "--json", check=check))
    assert done.returncode == 2
    assert json.loads(done.stdout)["reason"] == reason


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "magic"], "choose one of: llm, search"),
        (["--policy", "llm"], "--endpoint and --model"),
        (
            ["--policy", "llm", "--endpoint", "http://x", "--model", "m", "--api-key-env", "UNSET_KEY"],
            "UNSET_KEY",
        ),
        (["--repo", "/no/such/folder"], "--repo"),
        (["--events", "/no/such/folder/events"], "/no/such/folder/events: No such file or directory"),
    ],
)
def test_usage_exits_2_and_names_the_flag(
    runner_binary: Path, repo: Path, words: list[str], message: str
) -> None:
    done = run(command(repo, *words, "--json"))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    result = json.loads(done.stdout)
    assert message in result["message"]
    assert (result["outcome"], result["patch"], result["check_exit_code"]) == ("Error", "", None)
    assert (result["candidates_run"], result["seconds"] >= 0) == (0, True)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--budget-seconds", "-1"),
        ("--budget-seconds", "nan"),
        ("--budget-turns", "0"),
        ("--budget-turns", "1.5"),
        ("--check-timeout-seconds", "1e9"),
    ],
)
def test_numbers_out_of_range_are_refused(repo: Path, flag: str, value: str) -> None:
    done = run(command(repo, f"{flag}={value}"))
    assert (done.returncode, done.stdout) == (2, "")
    assert flag in done.stderr
    assert value in done.stderr


def test_a_missing_runner_is_explained(repo: Path) -> None:
    done = run(command(repo), DSPY_ENV_RUNNER="/no/such/env-runner")
    assert done.returncode == 2
    assert "DSPY_ENV_RUNNER" in done.stderr


def test_a_relative_program_of_a_virtual_environment_is_found(
    endpoint: ScriptedEndpoint, runner_binary: Path, repo: Path
) -> None:
    write_files(repo, {".venv/pyvenv.cfg": "", ".venv/bin/check": "#!/bin/sh\nexit 7\n"})
    (repo / ".venv/bin/check").chmod(0o755)
    done = run(command(repo, *llm(endpoint), "--json", check=".venv/bin/check"))
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["check_exit_code"] == 7


def test_ctrl_c_leaves_no_runner_behind(runner_binary: Path, repo: Path, tmp_path: Path) -> None:
    check = f"sh -c 'echo x > {tmp_path}/started; sleep 60'"
    # A shell starts what it puts into the background with SIGINT ignored, and these tests may be there.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *command(repo, check=check)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "workspace ready" in line:
            break
    folder = next(tmp_path.glob("dspy-agent-*"))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
    assert not folder.exists()


def test_commands_see_neither_keys_nor_accounts_of_the_person_who_runs_them(
    runner_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    places = [
        ".ssh/id_ed25519",
        ".aws/credentials",
        ".config/gcloud/key.json",
        ".netrc",
        "elsewhere/kubeconfig",
    ]
    write_files(home, dict.fromkeys(places, "hunter2") | {".config/tool/settings": "harmless"})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KUBECONFIG", str(home / "elsewhere/kubeconfig"))
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "DATABASE_URL"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    script = 'env; echo "home is $HOME"; cd "$0" && cat .config/tool/settings "$@"'
    argv = ("sh", "-c", script, str(home), *places)
    with local_runner() as runner:
        told = runner.execute(Command(argv))
        monkeypatch.setenv("DSPY_AGENT_PASS_ENV", "DATABASE_URL, ABSENT")
    with local_runner() as runner:
        asked = runner.execute(Command(("sh", "-c", 'echo "$DATABASE_URL"')))
    assert "hunter2" not in told.stdout + told.stderr
    assert "harmless" in told.stdout
    assert "LC_ALL=C.UTF-8" in told.stdout
    assert f"home is {home}" not in told.stdout
    assert asked.stdout == "hunter2\n"


def test_the_runner_is_found_by_its_variable(runner_binary: Path) -> None:
    assert find_runner() == runner_binary
