"""Which provider is chosen, and why."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tools.cluster.existing import ExistingProvider
from tools.cluster.fakenodes import LABEL, node
from tools.cluster.kind import KindProvider
from tools.cluster.provider import Cluster, Options, Provider, Verdict, by_name, choose
from tools.common.process import ToolError
from tools.common.progress import Progress


class FixedProvider:
    """A provider whose verdict is given; it is never brought up."""

    def __init__(self, name: str, verdict: Verdict) -> None:
        self.name = name
        self._verdict = verdict

    def verdict(self) -> Verdict:
        return self._verdict

    def up(self, cluster: Cluster, options: Options, progress: Progress) -> None:
        raise AssertionError("not to be called")

    def down(self, cluster: Cluster, progress: Progress) -> None:
        raise AssertionError("not to be called")

    def running(self, cluster: Cluster) -> bool:
        raise AssertionError("not to be called")

    def load(self, cluster: Cluster, archive: Path) -> bool:
        raise AssertionError("not to be called")

    def logs(self, cluster: Cluster) -> Sequence[Path]:
        raise AssertionError("not to be called")


def refusing(name: str, reason: str) -> Provider:
    return FixedProvider(name, Verdict(False, reason))


def willing(name: str, reason: str = "all is there") -> Provider:
    return FixedProvider(name, Verdict(True, reason))


def test_the_first_usable_provider_is_chosen_and_its_reason_told() -> None:
    told = io.StringIO()
    chosen = choose([refusing("a", "no"), willing("b", "b is there"), willing("c")], Progress(told))
    assert chosen.name == "b"
    assert "provider b: b is there" in told.getvalue()


def test_without_a_usable_provider_every_reason_is_told() -> None:
    with pytest.raises(ToolError, match=r"(?s)a: lacks x.*b: lacks y"):
        choose([refusing("a", "lacks x"), refusing("b", "lacks y")], Progress(io.StringIO()))


def test_an_unknown_provider_names_the_others() -> None:
    with pytest.raises(ToolError, match="there are: a, b"):
        by_name([willing("a"), willing("b")], "c")


def test_existing_needs_a_kubeconfig_that_is_a_file(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    assert not ExistingProvider({}).verdict().usable
    assert "no file" in ExistingProvider({"KUBECONFIG": str(kubeconfig)}).verdict().reason
    kubeconfig.touch()
    assert ExistingProvider({"KUBECONFIG": str(kubeconfig)}).verdict().usable


def test_existing_says_how_images_get_there(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="registry"):
        ExistingProvider({}).load(Cluster("x", tmp_path), tmp_path / "image.tar")


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("docker", "with_kind", "reason"),
    [
        (None, True, "no docker command"),
        ("exit 1", True, "no Docker engine answers"),
        ('[ "$1" = version ]', True, "neither here nor in a reachable registry"),
        ("exit 0", False, "kind is not installed"),
        ("exit 0", True, "a Docker engine answers"),
    ],
)
def test_kind_looks_for_engine_image_and_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker: str | None, with_kind: bool, reason: str
) -> None:
    if docker is not None:
        program(tmp_path, "docker", docker)
    if with_kind:
        program(tmp_path, "kind", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DSPY_CACHE", str(tmp_path / "cache"))
    verdict = KindProvider().verdict()
    assert reason in verdict.reason
    assert verdict.usable == ("answers and" in verdict.reason)


def test_a_fake_node_keeps_pods_away_that_do_not_ask_for_it() -> None:
    made: Any = node(7)
    assert made["metadata"]["name"] == "fake-00007"
    assert made["spec"]["taints"] == [{"key": LABEL, "value": "true", "effect": "NoSchedule"}]
    assert made["metadata"]["labels"][LABEL] == "true"
