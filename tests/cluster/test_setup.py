"""The setup goes on after a failure, does nothing twice, and processes are told apart."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
from pathlib import Path

import pytest

from tools.common.process import CommandFailedError, ProcessId, ToolError, run
from tools.common.progress import Progress
from tools.setup.__main__ import install_missing
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
