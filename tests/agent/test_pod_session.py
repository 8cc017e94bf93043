"""A session in its pod, on the fake runner: every way to end, and going on after a crash."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from dspy_agent.clients.fake_runner import FakeRunner
from dspy_agent.core.events import EventLog, MemoryLog
from dspy_agent.core.outcome import Outcome
from dspy_agent.core.policy import Finish, Policy
from dspy_agent.core.runner import MAIN, Command, ExecResult
from dspy_agent.core.tools import default_tools
from dspy_agent.errors import (
    LogFenced,
    PolicyEndpointRefused,
    RunnerLost,
    RunnerRequestError,
    StoreRefused,
    StoreUnreachable,
    UnsupportedPolicy,
)
from dspy_agent.pod.session import PodSession
from dspy_agent.pod.spec import parse
from dspy_agent.policies import Equipment, equip
from dspy_agent.sources.fetch import Places

from tests.agent.conftest import BUGGY, CHECK, FIXED, write_files
from tests.agent.scripts import Script, call

FIX = call("edit", path="last.py", content=FIXED)


class MemoryBlobs:
    """Blobs of a test."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.content[digest] = content
        return digest

    def get(self, digest: str) -> bytes:
        if digest not in self.content:
            raise StoreRefused(f"RedDB has no blob {digest}.")
        return self.content[digest]


@dataclass
class Pod:
    """What a test's session runs with; `run` is one start of the container."""

    folder: Path
    script: Policy = field(default_factory=lambda: Script([FIX]))
    log: EventLog = field(default_factory=MemoryLog)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    spec: dict[str, Any] = field(default_factory=dict)
    runner: FakeRunner | None = None
    ready: int = 0

    def run(self, **spec: Any) -> Outcome | None:
        task = {"prompt": "Fix it.", "check": {"command": list(CHECK), "timeoutSeconds": 30}}
        full = {
            "task": task,
            "policy": {"search": {}},
            "workspace": {"configMapRef": {"name": "files"}},
        } | spec
        metadata = {"namespace": "default", "name": "s", "uid": "u-1"}
        session = PodSession(
            spec=parse(json.dumps({"metadata": metadata, "spec": full})),
            runner=self.runner
            or FakeRunner(self.folder / f"runner-{self.ready}-{len(list(self.folder.iterdir()))}"),
            log=self.log,
            blobs=self.blobs,
            places=Places(self.folder / "config", self.folder / "secret", self.blobs, git_timeout_seconds=10),
            runner_wait_seconds=1,
            llm_api_key=None,
            on_ready=self._on_ready,
            listener=lambda _: None,
            equip=lambda _, __: Equipment(self.script, default_tools()),
        )
        return session.run()

    def ends(self, **spec: Any) -> tuple[str, str]:
        outcome = self.run(**spec)
        assert outcome is not None
        assert outcome.message
        return outcome.outcome, outcome.reason

    def types(self) -> list[str]:
        return [event.type for event in self.log.read(0, 100)]

    def _on_ready(self) -> None:
        self.ready += 1


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    write_files(tmp_path / "config", {"last.py": BUGGY, "docs__readme.md": "Read me.\n"})
    return Pod(tmp_path)


def task(**check: Any) -> dict[str, Any]:
    return {"prompt": "Fix it.", "check": check}


def test_a_session_is_solved_and_tells_its_story(pod: Pod) -> None:
    outcome = pod.run()
    assert outcome is not None
    assert (outcome.outcome, outcome.reason) == ("Solved", "CheckPassed")
    assert pod.types() == [
        "session_started",
        "workspace_ready",
        "check_before",
        "edit",
        "check_after",
        "session_finished",
    ]
    assert outcome.patch_ref is not None
    patch = pod.blobs.content[outcome.patch_ref.removeprefix("reddb://blobs/sha256/")]
    assert patch.decode() == outcome.patch
    assert json.loads(outcome.termination_message())["patchRef"] == outcome.patch_ref


def test_a_finished_session_is_not_run_again(pod: Pod) -> None:
    first = pod.run()
    pod.script = Script([call("fly")])
    again = pod.run()
    assert again is not None
    assert first is not None
    assert json.loads(again.termination_message()) == json.loads(first.termination_message())
    assert pod.types()[-1] == "session_finished"


@dataclass
class CrashingLog(MemoryLog):
    """Refuses one append, as when the process dies there."""

    crash_at: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def append(self, event: Any) -> None:
        if event.seq == self.crash_at:
            self.crash_at = 0
            raise KeyboardInterrupt
        super().append(event)


@pytest.mark.parametrize("seq", range(1, 9))
def test_a_crash_anywhere_is_carried_on(pod: Pod, tmp_path: Path, seq: int) -> None:
    pod.log = CrashingLog(crash_at=seq)
    count = call("run", argv=["sh", "-c", f"echo x >> {tmp_path}/ran"])
    pod.script = Script([call("read_file", path="last.py"), count, FIX])
    with pytest.raises(KeyboardInterrupt):
        pod.run()
    pod.script = Script([call("read_file", path="last.py"), count, FIX])
    assert pod.ends() == ("Solved", "CheckPassed")
    # The command whose record was lost is the only one that may have run twice.
    assert (tmp_path / "ran").read_text().count("x") == (2 if seq == 5 else 1)
    assert pod.types().count("session_resumed") == (0 if seq == 1 else 1)
    assert pod.types()[-1] == "session_finished"


def test_a_policy_that_changed_its_mind_ends_truthfully(pod: Pod) -> None:
    pod.log = CrashingLog(crash_at=5)
    pod.script = Script([FIX])
    with pytest.raises(KeyboardInterrupt):
        pod.run()
    pod.script = Script([call("edit", path="other.py", content="")])
    assert pod.ends() == ("Error", "ReplayMismatch")


def test_an_interactive_session_stays_ready(pod: Pod) -> None:
    assert pod.run(task=None) is None
    assert pod.ready == 1
    assert pod.types() == ["session_started", "workspace_ready"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"task": task(command=["true"])}, "CheckAlreadyPasses"),
        ({"task": task(command=["/no/such/check"])}, "CheckCannotStart"),
        ({"task": task(command=["sleep", "60"], timeoutSeconds=0.2)}, "CheckTimedOut"),
        ({"workspace": {"empty": {}, "setup": {"command": ["false"]}}}, "SetupFailed"),
        ({"workspace": {"empty": {}, "setup": {"command": ["/no/such/setup"]}}}, "SetupFailed"),
        (
            {"workspace": {"empty": {}, "setup": {"command": ["sleep", "60"], "timeoutSeconds": 0.2}}},
            "SetupFailed",
        ),
        ({"workspace": {"git": {"url": "http://127.0.0.1:1/none.git"}}}, "WorkspaceUnreachable"),
        ({"workspace": {"git": {"url": "file:///etc"}}}, "WorkspaceUnreachable"),
        ({"workspace": {"blob": {"sha256": "0" * 64}}}, "WorkspaceUnreachable"),
        ({"workspace": {"blob": {"sha256": "../x"}}}, "WorkspaceInvalid"),
    ],
)
def test_errors_name_their_reason(pod: Pod, spec: dict[str, Any], reason: str) -> None:
    assert pod.ends(**spec) == ("Error", reason)
    assert pod.types()[-1] == "session_finished"


def test_an_escaping_archive_is_invalid(pod: Pod, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "config" / "files.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("../outside")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    assert pod.ends() == ("Error", "WorkspaceInvalid")


def test_a_blob_is_a_workspace(pod: Pod) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("last.py")
        info.size = len(BUGGY)
        tar.addfile(info, io.BytesIO(BUGGY.encode()))
    digest = pod.blobs.put(buffer.getvalue())
    assert pod.ends(workspace={"blob": {"sha256": digest}}) == ("Solved", "CheckPassed")


def test_a_setup_command_prepares_main(pod: Pod) -> None:
    setup = {"command": ["sh", "-c", "printf 'one' > made.txt"]}
    check = task(command=["sh", "-c", "test -f made.txt && grep -q -e '- 1' last.py"])
    workspace = {"configMapRef": {"name": "files"}, "setup": setup}
    assert pod.ends(workspace=workspace, task=check) == ("Solved", "CheckPassed")


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("CandidatesExhausted", "CandidatesExhausted"),
        ("PolicyGaveUp", "PolicyGaveUp"),
        ("Done", "PolicyGaveUp"),
    ],
)
def test_unsolved_says_why(pod: Pod, finish: Any, reason: str) -> None:
    pod.script = Script([], Finish(finish, "Nothing left to try."))
    assert pod.ends() == ("Unsolved", reason)


def test_a_spent_budget_is_unsolved(pod: Pod) -> None:
    pod.script = Script([call("trial", candidates=[{"edits": []}])] * 3)
    assert pod.ends(budget={"turns": 1}) == ("Unsolved", "BudgetExhausted")


@dataclass
class FailingPolicy:
    """Stops the session with an error of its own."""

    error: Exception

    def steps(self, task: Any, context: Any) -> Any:
        raise self.error
        yield


def test_a_policys_error_ends_the_session(pod: Pod) -> None:
    pod.script = FailingPolicy(PolicyEndpointRefused("The endpoint refuses the key."))
    assert pod.ends() == ("Error", "PolicyEndpointRefused")


def test_an_unknown_policy_lists_the_others() -> None:
    with pytest.raises(UnsupportedPolicy, match="llm, search"):
        equip("trainingJobRef", {})


class FragileRunner(FakeRunner):
    """Stops answering for a while, as a container does that restarts."""

    failures = 0

    def execute(self, command: Command, workspace: str = MAIN) -> ExecResult:
        if self.failures:
            self.failures -= 1
            raise RunnerLost("The env runner does not answer.")
        return super().execute(command, workspace)


@pytest.mark.parametrize(
    ("failures", "ending"), [(2, ("Solved", "CheckPassed")), (3, ("Error", "RunnerLost"))]
)
def test_a_runner_that_restarts_is_waited_for(pod: Pod, failures: int, ending: tuple[str, str]) -> None:
    pod.runner = FragileRunner(pod.folder / "fragile")
    pod.runner.failures = failures
    assert pod.ends() == ending


def test_an_archive_that_the_runner_refuses_is_invalid(pod: Pod) -> None:
    class Refusing(FakeRunner):
        def put_archive(self, archive: BinaryIO, workspace: str = MAIN) -> None:
            raise RunnerRequestError("ArchiveTooLarge", "The archive is too large.", 413)

    pod.runner = Refusing(pod.folder / "refusing")
    assert pod.ends() == ("Error", "WorkspaceInvalid")


@dataclass
class BrokenLog:
    """A store that fails from some event on."""

    error: Exception
    after: int = 2
    inner: MemoryLog = field(default_factory=MemoryLog)

    def append(self, event: Any) -> None:
        if event.seq > self.after:
            raise self.error
        self.inner.append(event)

    def read(self, after: int, count: int) -> Any:
        return self.inner.read(after, count)


def test_an_unreachable_store_ends_the_session(pod: Pod) -> None:
    pod.log = BrokenLog(StoreUnreachable("RedDB did not answer."))
    assert pod.ends() == ("Error", "StoreUnreachable")


def test_a_refused_patch_is_recorded(pod: Pod) -> None:
    class FullBlobs(MemoryBlobs):
        def put(self, content: bytes) -> str:
            raise StoreRefused("RedDB refused a blob of 300 bytes.")

    pod.blobs = FullBlobs()
    assert pod.ends() == ("Error", "StoreRefused")
    assert pod.types()[-2:] == ["edit", "session_finished"]


def test_a_store_that_refuses_its_log_too_ends_the_session(pod: Pod) -> None:
    pod.log = BrokenLog(StoreRefused("RedDB refused the token."))
    assert pod.ends() == ("Error", "StoreRefused")


def test_an_error_is_told_even_when_the_store_is_gone(pod: Pod) -> None:
    pod.log = BrokenLog(StoreUnreachable("RedDB did not answer."), after=3)
    assert pod.ends(task=task(command=["true"])) == ("Error", "CheckAlreadyPasses")


def test_a_fenced_session_stops_without_an_outcome(pod: Pod) -> None:
    pod.log = BrokenLog(LogFenced("Another agent wrote event 3."))
    with pytest.raises(LogFenced):
        pod.run()


def test_the_specs_fields_are_read() -> None:
    value: Mapping[str, Any] = {
        "metadata": {"namespace": "n", "name": "s", "uid": "u"},
        "spec": {
            "task": {"prompt": "p", "check": {"command": ["c"]}, "protectedPaths": ["tests/"]},
            "policy": {"llm": {"endpoint": "http://e", "model": "m"}},
            "budget": {"turns": 5, "usd": "0.25", "seconds": 9},
        },
    }
    spec = parse(json.dumps(value))
    assert spec.log_key == "session/n/s/u/events"
    assert spec.policy == "llm"
    assert spec.task is not None
    assert spec.task.protected_paths == ("tests/",)
    assert str(spec.limits.usd) == "0.25"
