"""A cluster's folder goes although somebody else removes it too; one command at a time does it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.common import paths
from tools.common.files import remove_tree
from tools.common.lock import exclusive
from tools.common.progress import Progress

Remove = Callable[..., None]


def filled(folder: Path) -> Path:
    (folder / "logs" / "pods").mkdir(parents=True)
    for name in ("cluster.json", "logs/supervisor.log", "logs/pods/one"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("step", ["unlink", "rmdir"])
def test_files_that_somebody_else_removes_first_do_not_matter(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove: Remove = getattr(os, step)

    def removed_before(path: str, *, dir_fd: int | None = None) -> None:
        remove(path, dir_fd=dir_fd)
        remove(path, dir_fd=dir_fd)

    folder = filled(tmp_path / "cluster")
    monkeypatch.setattr(os, step, removed_before)
    remove_tree(folder)
    assert not folder.exists()


def test_a_folder_that_is_not_there_is_removed(tmp_path: Path) -> None:
    remove_tree(tmp_path / "never")


def test_what_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        remove_tree(filled(tmp_path / "cluster"))


def test_down_waits_for_who_works_on_the_cluster(tmp_path: Path) -> None:
    """Two at once removed each other's files, and one of them failed."""
    folder = filled(tmp_path / "busy")
    with exclusive(tmp_path / ".busy.lock", Progress()):
        down = subprocess.Popen(
            [sys.executable, "-m", "tools.cluster", "down", "--name", "busy"],
            cwd=paths.REPOSITORY,
            env={**os.environ, "DSPY_STATE": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert down.stderr is not None
        assert "waiting for another command" in down.stderr.readline()
        assert (folder / "cluster.json").exists()
    _, told = down.communicate(timeout=60)
    assert down.returncode == 0, told
    assert not folder.exists()
