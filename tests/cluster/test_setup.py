"""The setup goes on after a failure, does nothing twice, and processes are told apart."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import subprocess
from pathlib import Path

import pytest

from tools.common.paths import REPOSITORY
from tools.common.process import CommandFailedError, ProcessId, ToolError, run
from tools.common.progress import Progress
from tools.setup import debian
from tools.setup.__main__ import chosen, everything, groups, install_missing
from tools.setup.thing import Thing, key_of


def test_what_is_there_is_left_alone_and_failures_do_not_stop_the_rest() -> None:
    installed: list[str] = []

    def fail() -> None:
        raise ToolError("get it from there")

    things = [
        Thing("there", "x", lambda: True, lambda: installed.append("there")),
        Thing("impossible", "x", lambda: False, fail),
        Thing("missing", "x", lambda: False, lambda: installed.append("missing")),
    ]
    assert install_missing(things, Progress(io.StringIO())) == ["get it from there"]
    assert installed == ["missing"]


def docker(folder: Path, monkeypatch: pytest.MonkeyPatch, *, answers: bool) -> None:
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\nexit {0 if answers else 1}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize("answers", [True, False])
def test_what_the_tests_need_is_set_up_with_docker_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    docker(tmp_path, monkeypatch, answers=answers)
    wanted = {thing.name for thing in chosen((), ())}
    assert {"kube", "etcd", "kwok", "helm", "kubeconform", "packages for checks"} <= wanted
    assert ("kind" in wanted) == answers
    assert ("packages for cluster" in wanted) != answers
    assert {thing.group for thing in chosen((), ("checks", "benchmarks"))}.isdisjoint(
        {"checks", "benchmarks"}
    )


@pytest.mark.parametrize("answers", [True, False])
def test_every_group_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    docker(tmp_path, monkeypatch, answers=answers)
    assert {"builds", "kubernetes", "cluster", "images", "kind", "checks"} <= set(groups())
    for group in groups():
        assert [thing.name for thing in chosen((group,), ())] == [
            thing.name for thing in everything() if thing.group == group
        ]


def test_a_remedy_names_groups_that_there_are() -> None:
    """An error that says `python3 -m tools.setup GROUP` must not end in another error."""
    told = [
        group
        for source in (REPOSITORY / "tools").rglob("*.py")
        for words in re.findall(r"python3 -m tools\.setup((?: [a-z]+)+)`", source.read_text())
        for group in words.split()
    ]
    assert told
    assert set(told) <= set(groups())


def test_a_package_is_recognised_by_dpkg_or_by_its_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\necho 'ii  libc6-dev'\necho 'un  gcc'\n")
    (tmp_path / "musl-gcc").touch()
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.missing(("gcc", "libc6-dev", "musl-tools", "python3-venv")) == ["gcc", "python3-venv"]
    (tmp_path / "dpkg-query").unlink()
    assert debian.missing(("gcc", "libc6-dev", "musl-tools", "python3-venv")) == ["gcc"]


def test_keys_follow_words_and_files(tmp_path: Path) -> None:
    file = tmp_path / "go.mod"
    file.write_text("one")
    first = key_of("flags", files=[file])
    file.write_text("two")
    assert first != key_of("flags", files=[file])
    assert key_of("a", "b") != key_of("ab")


def test_a_process_is_itself_until_it_ends() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        identity = ProcessId.of(process.pid)
        assert identity.alive()
    assert not identity.alive()


def test_a_reused_number_is_another_process() -> None:
    own = ProcessId.of(os.getpid())
    assert own.alive()
    assert not dataclasses.replace(own, start_ticks=own.start_ticks - 1).alive()
    assert not dataclasses.replace(own, boot_id="another").alive()


def test_a_failing_command_tells_its_output() -> None:
    with pytest.raises(CommandFailedError, match=r"(?s)status 3.*told") as failure:
        run(["sh", "-c", "echo told >&2; exit 3"])
    assert failure.value.status == 3


def test_a_missing_program_says_what_installs_it() -> None:
    with pytest.raises(ToolError, match=r"tools\.setup"):
        run(["no-such-program"])


def test_a_command_that_does_not_end_is_cut_off() -> None:
    with pytest.raises(ToolError, match="did not end"):
        run(["sleep", "60"], timeout_seconds=0.1)
