"""The examples' descriptions and archives; nothing is fetched."""

from __future__ import annotations

import io
import re
import tarfile

import pytest
import yaml

from benchmarks.repair.run import changed_lines
from examples import prepare


@pytest.mark.parametrize("name", prepare.all_names())
def test_description_and_manifest_agree(name: str) -> None:
    bug = prepare.load(name)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in (bug.sha256, bug.fixed_sha256))
    session = yaml.safe_load((bug.folder / "session.yaml").read_text())
    assert session["metadata"]["name"] == name
    assert session["spec"]["workspace"]["configMapRef"]["name"] == f"{name}-workspace"
    assert session["spec"]["task"]["protectedPaths"] == ["test_regression.py"]


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(prepare.PrepareError, match="choose one of"):
        prepare.load("../etc")


def test_archive_is_deterministic() -> None:
    files = {"b.py": b"b", "a/c.py": b"c"}
    packed = prepare.archive(files)
    assert packed == prepare.archive(dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert tar.getnames() == ["a/c.py", "b.py"]


def test_changed_lines_of_a_patch() -> None:
    patch = "--- a/x\n+++ b/x\n@@ -3,3 +3,3 @@\n one\n-two\n+zwei\n three\n"
    assert changed_lines(patch) == {3, 4}
