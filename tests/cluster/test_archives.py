"""Image archives: made reproducibly, and recognised in the node."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.cluster import archive
from tools.common.process import ToolError
from tools.images import components, store

LISTING = """\
REF                          TYPE                                  DIGEST      SIZE    PLATFORMS   LABELS
localhost/x/app:1            application/vnd.docker.manifest       sha256:new  1.0 MiB linux/amd64 -
sha256:identity              application/vnd.docker.manifest       sha256:new  1.0 MiB linux/amd64 -
sha256:older                 application/vnd.docker.manifest       sha256:old  1.0 MiB linux/amd64 -
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSPY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_same_binary_makes_the_same_image(tmp_path: Path) -> None:
    binary = tmp_path / "tool"
    binary.write_bytes(b"\x7fELF")
    made = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for path in made:
        archive.write_from_binary(path, "localhost/x/tool:1", binary, ["/tool"])
    assert made[0].read_bytes() == made[1].read_bytes()
    (image,) = archive.contents(made[0])
    assert image.tag == "localhost/x/tool:1"
    assert image.identity.startswith("sha256:")


def test_an_image_is_loaded_when_its_tag_points_at_it() -> None:
    present = archive.parse_ctr_list(LISTING)
    assert archive.is_loaded([archive.Image("localhost/x/app:1", "sha256:identity")], present)


@pytest.mark.parametrize("identity", ["sha256:older", "sha256:unknown"])
def test_a_tag_on_another_build_is_not_loaded(identity: str) -> None:
    present = archive.parse_ctr_list(LISTING)
    assert not archive.is_loaded([archive.Image("localhost/x/app:1", identity)], present)


def test_publishing_deletes_older_archives_of_that_image_alone(cache: Path) -> None:
    for name, key in (("agent", "a" * 16), ("agent", "b" * 16), ("agent-x", "c" * 16)):
        with store.writing(name, key) as path:
            path.write_text(key)
    store.publish("agent", store.archive("agent", "b" * 16))
    assert store.latest("agent").read_text() == "b" * 16
    assert not store.archive("agent", "a" * 16).exists()
    assert store.archive("agent-x", "c" * 16).exists()


def test_an_interrupted_write_publishes_nothing(cache: Path) -> None:
    def interrupted() -> None:
        with store.writing("agent", "a" * 16) as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert not store.archive("agent", "a" * 16).exists()


@pytest.mark.usefixtures("cache")
def test_a_missing_archive_says_how_to_make_it() -> None:
    with pytest.raises(ToolError, match=r"tools\.images build agent"):
        store.archives_of(["agent"])


def test_the_hash_follows_content_and_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "REPOSITORY", tmp_path)
    (tmp_path / "images" / "app").mkdir(parents=True)
    (tmp_path / "images" / "app" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "src" / "__pycache__").mkdir(parents=True)
    source = tmp_path / "src" / "main.py"
    source.write_text("1")
    app = components.Component("app", inputs=("src",))
    first = components.content_hash(app, "base")
    (tmp_path / "src" / "__pycache__" / "main.pyc").touch()
    assert components.content_hash(app, "base") == first
    source.chmod(0o700)
    second = components.content_hash(app, "base")
    source.write_text("2")
    assert (
        len({first, second, components.content_hash(app, "base"), components.content_hash(app, "other")}) == 4
    )


def test_every_component_has_a_dockerfile_that_runs_as_nobody_in_particular() -> None:
    for component in components.COMPONENTS:
        assert "USER 1000:1000" in component.dockerfile.read_text(), component.name
