"""The real binaries, the fake runner, and small repositories with a bug in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from dspy_agent.clients.fake_runner import FakeRunner
from dspy_agent.core.policy import Task
from dspy_agent.core.runner import Runner
from dspy_agent.core.tools import ToolContext
from dspy_agent.core.workspace import Workspace
from dspy_agent.local_runner import local_runner
from dspy_agent.sources.pack import pack_folder

from tests.agent.scripted_endpoint import ScriptedEndpoint

ROOT = Path(__file__).resolve().parents[2]
BUGGY = "def last(items):\n    return items[len(items)]\n"
FIXED = "def last(items):\n    return items[len(items) - 1]\n"
CHECK = (sys.executable, "-c", "import last; assert last.last([1, 2]) == 2")


def binary(variable: str, name: str) -> Path:
    """A built program of this project: where the variable says, else in dist/bin (made by `make build`)."""
    path = Path(os.environ.get(variable, ROOT / "dist/bin" / name))
    assert os.access(path, os.X_OK), f"{path} is missing: run `make build`, or set {variable}"
    return path


@pytest.fixture(scope="session")
def runner_binary() -> Path:
    path = binary("DSPY_ENV_RUNNER", "env-runner")
    os.environ["DSPY_ENV_RUNNER"] = str(path)
    return path


@pytest.fixture(scope="session")
def reddb_binary() -> Path:
    return binary("REDDB_BIN", "reddb")


@pytest.fixture
def fake_runner(tmp_path: Path) -> FakeRunner:
    return FakeRunner(tmp_path / "runner")


@pytest.fixture(params=["fake", "real"])
def any_runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    if request.param == "fake":
        yield request.getfixturevalue("fake_runner")
        return
    request.getfixturevalue("runner_binary")
    with local_runner() as runner:
        yield runner


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    """A model that knows how to repair `repo`; it wants the key `secret-key`."""
    with serving(ScriptedEndpoint(("127.0.0.1", 0), api_key="secret-key")) as server:
        yield server


@contextmanager
def serving(server: ScriptedEndpoint) -> Iterator[ScriptedEndpoint]:
    thread = server.serve_in_thread()
    yield server
    server.speaks.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository whose check fails because of one wrong index."""
    folder = tmp_path / "repo"
    write_files(folder, {"last.py": BUGGY, "README.md": "A list helper.\n"})
    return folder


@pytest.fixture
def tool_context(fake_runner: FakeRunner, repo: Path) -> ToolContext:
    return make_tool_context(fake_runner, repo)


def make_tool_context(runner: Runner, repo: Path, protected: tuple[str, ...] = ()) -> ToolContext:
    links = load(runner, repo)
    task = Task(prompt="Fix last().", check=CHECK, check_timeout_seconds=30, protected_paths=protected)
    return ToolContext(task, Workspace(runner, links))


def load(runner: Runner, folder: Path) -> dict[str, str]:
    """The folder as the runner's main workspace; its links."""
    packed = pack_folder(folder)
    with packed.archive:
        runner.put_archive(packed.archive)
    return packed.links


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
