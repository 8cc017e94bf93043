"""Workspaces: archives that must be refused, ConfigMaps, and git repositories served over HTTP."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dspy_agent.errors import WorkspaceInvalid, WorkspaceUnreachable
from dspy_agent.sources.config_map import read_config_map
from dspy_agent.sources.git import GitSource, fetch_git
from dspy_agent.sources.local import pack_repository
from dspy_agent.sources.pack import Packed, repack

from tests.agent.conftest import write_files


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def archive(*entries: tarfile.TarInfo) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for info in entries:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    return io.BytesIO(buffer.getvalue())


def names(packed: Packed) -> list[str]:
    with packed.archive, tarfile.open(fileobj=packed.archive) as tar:
        return sorted(tar.getnames())


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../outside")],
        [entry("/etc/passwd")],
        [entry("a/../../outside")],
        [entry("link", tarfile.SYMTYPE, "/etc")],
        [entry("link", tarfile.SYMTYPE, "../outside")],
        [entry("a/link", tarfile.SYMTYPE, "b/../../../outside")],
        [entry("hard", tarfile.LNKTYPE, "../outside")],
        [entry("device", tarfile.CHRTYPE)],
        [entry("pipe", tarfile.FIFOTYPE)],
        [entry("folder", tarfile.SYMTYPE, "other"), entry("folder/file")],
        [entry("hard", tarfile.LNKTYPE, "absent")],
        [entry("a"), entry("a/b")],
        [entry("a"), entry("hard", tarfile.LNKTYPE, "a"), entry("hard/b/c")],
    ],
)
def test_an_archive_that_leaves_the_workspace_is_refused(entries: list[tarfile.TarInfo]) -> None:
    with pytest.raises(WorkspaceInvalid):
        repack(archive(*entries))


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(WorkspaceInvalid, match="cannot be read"):
        repack(io.BytesIO(b"no archive"))
    with pytest.raises(WorkspaceInvalid):
        repack(io.BytesIO(archive(entry("a")).getvalue()[:40]))


def test_inner_links_are_kept() -> None:
    packed = repack(
        archive(
            entry("a/file"), entry("a/link", tarfile.SYMTYPE, "file"), entry("b", tarfile.LNKTYPE, "a/file")
        )
    )
    assert names(packed) == ["a/file", "a/link", "b"]


def test_a_repository_is_copied_without_its_baggage(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.py": "", ".git/config": "", "env/pyvenv.cfg": "", "pkg/__pycache__/a.pyc": ""})
    (tmp_path / "out").symlink_to("/etc")
    packed = pack_repository(tmp_path)
    assert packed.skipped == ["out"]
    assert names(packed) == ["a.py", "pkg"]


def test_a_config_map_is_files_or_one_archive(tmp_path: Path) -> None:
    write_files(tmp_path, {"src__a.py": "x", "b.py": "y", "..data": ""})
    assert names(read_config_map(tmp_path)) == ["b.py", "src/a.py"]
    (tmp_path / "all.tar.gz").write_bytes(archive(entry("inside")).getvalue())
    assert names(read_config_map(tmp_path)) == ["inside"]
    (tmp_path / "more.tgz").write_bytes(b"")
    with pytest.raises(WorkspaceInvalid, match="several archives"):
        read_config_map(tmp_path)
    with pytest.raises(WorkspaceUnreachable, match="not mounted"):
        read_config_map(tmp_path / "absent")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Silent."""


def git(folder: Path, *words: str) -> str:
    identity = [
        "-c",
        "user.name=Tests",
        "-c",
        "user.email=tests@example.org",
        "-c",
        "init.defaultBranch=main",
    ]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URL of a repository on dumb HTTP with a branch `next`, a tag `v1`, and its first commit."""
    folder = tmp_path_factory.mktemp("git")
    work = folder / "work"
    write_files(work, {"a.py": "one\n"})
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["commit", "-q", "-m", "one"],
        ["tag", "v1"],
        ["checkout", "-qb", "next"],
    ):
        git(work, *words)
    first = git(work, "rev-parse", "HEAD")
    write_files(work, {"b.py": "two\n"})
    for words in (["add", "."], ["commit", "-q", "-m", "two"], ["checkout", "-q", "main"]):
        git(work, *words)
    git(folder, "clone", "-q", "--bare", "work", "served.git")
    git(folder / "served.git", "update-server-info")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/served.git", first
    server.shutdown()
    thread.join()
    server.server_close()


def test_git_checks_out_branch_tag_and_commit(repository: tuple[str, str]) -> None:
    url, first = repository
    assert names(fetch_git(GitSource(url))) == ["a.py"]
    assert names(fetch_git(GitSource(url, "next"))) == ["a.py", "b.py"]
    assert names(fetch_git(GitSource(url, "v1"))) == ["a.py"]
    assert names(fetch_git(GitSource(url, first))) == ["a.py"]
    with pytest.raises(WorkspaceUnreachable, match="no branch, tag or commit absent"):
        fetch_git(GitSource(url, "absent"))


@pytest.mark.parametrize(
    ("url", "ref"),
    [
        ("file:///etc", None),
        ("ext::sh -c true", None),
        ("--upload-pack=true", None),
        ("https://user:secret@example.org/r.git", None),
        ("https://secret@example.org/r.git", None),
        ("http://:secret@example.org/r.git", None),
        ("ssh://user:secret@example.org/r.git", None),
        ("https://[secret@example.org/r.git", None),
        ("https://example.org/r.git", "--upload-pack=true"),
        ("https://example.org/r.git", "a..b"),
        ("http://127.0.0.1:1/r.git", None),
    ],
)
def test_git_refuses_what_is_no_repository(url: str, ref: str | None) -> None:
    with pytest.raises(WorkspaceUnreachable) as caught:
        fetch_git(GitSource(url, ref))
    assert "secret@" not in str(caught.value)
    assert "secret" not in url or "git.url" in str(caught.value)


def test_a_silent_git_host_is_given_up(tmp_path: Path) -> None:

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(WorkspaceUnreachable, match="in time"),
    ):
        fetch_git(GitSource(f"http://127.0.0.1:{silent.getsockname()[1]}/r.git"), timeout_seconds=0.5)


def test_the_workspace_verb_fills_a_folder(tmp_path: Path) -> None:
    write_files(tmp_path / "config", {"src__a.py": "x"})
    environment = {
        **os.environ,
        "DSPY_AGENT_WORKSPACE": json.dumps({"configMapRef": {"name": "c"}}),
        "DSPY_AGENT_WORKSPACE_SOURCE": str(tmp_path / "config"),
        "DSPY_AGENT_TERMINATION_LOG": str(tmp_path / "log"),
    }
    argv = [sys.executable, "-m", "dspy_agent.cli", "workspace", "--into", str(tmp_path / "out")]
    subprocess.run(argv, env=environment, check=True, timeout=30, capture_output=True)
    assert (tmp_path / "out/src/a.py").read_text() == "x"
    environment["DSPY_AGENT_WORKSPACE"] = json.dumps({"git": {"url": "file:///etc"}})
    failed = subprocess.run(argv, env=environment, check=False, timeout=30, capture_output=True)
    assert failed.returncode == 2
    assert json.loads((tmp_path / "log").read_text())["reason"] == "WorkspaceUnreachable"


@pytest.mark.parametrize(
    "entries",
    [
        [entry("a"), entry("a/b")],
        [entry("d", tarfile.DIRTYPE), entry("d/file"), entry("d", tarfile.SYMTYPE, "other")],
    ],
)
def test_the_workspace_verb_names_an_archive_that_contradicts_itself(
    tmp_path: Path, entries: list[tarfile.TarInfo]
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/files.tar.gz").write_bytes(archive(*entries).getvalue())
    environment = {
        **os.environ,
        "DSPY_AGENT_WORKSPACE": json.dumps({"configMapRef": {"name": "c"}}),
        "DSPY_AGENT_WORKSPACE_SOURCE": str(tmp_path / "config"),
        "DSPY_AGENT_TERMINATION_LOG": str(tmp_path / "log"),
    }
    argv = [sys.executable, "-m", "dspy_agent.cli", "workspace", "--into", str(tmp_path / "out")]
    failed = subprocess.run(argv, env=environment, check=False, timeout=30, capture_output=True, text=True)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    assert json.loads((tmp_path / "log").read_text())["reason"] == "WorkspaceInvalid"
