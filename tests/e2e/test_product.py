"""What the tests bring up is removed, whatever happens meanwhile; needs no cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.marks import in_cluster
from tests.e2e.product import installed

DOWN = ("tools.cluster", "down", "--name", "x")


class Tools:
    """Remembers what was run, and fails at one verb."""

    def __init__(self, failing: str = "") -> None:
        self.ran: list[tuple[str, ...]] = []
        self._failing = failing

    def __call__(self, *argv: str) -> str:
        self.ran.append(argv)
        if self._failing in argv:
            raise TimeoutError(self._failing)
        return "/a/kubeconfig\n"


def test_the_cluster_is_removed_at_the_end() -> None:
    tools = Tools()
    with installed("x", kept=False, tool=tools) as kubeconfig:
        assert kubeconfig == Path("/a/kubeconfig")
        assert DOWN not in tools.ran
    assert tools.ran[-1] == DOWN


@pytest.mark.parametrize("failing", ["up", "tools.install", "kubeconfig"])
def test_the_cluster_is_removed_when_it_did_not_come_up(failing: str) -> None:
    tools = Tools(failing)
    with pytest.raises(TimeoutError), installed("x", kept=False, tool=tools):
        raise AssertionError("it came up")
    assert tools.ran[-1] == DOWN


def test_a_cluster_that_is_somebodys_stays() -> None:
    tools = Tools("tools.install")
    with pytest.raises(TimeoutError), installed("x", kept=True, tool=tools):
        raise AssertionError("it came up")
    assert DOWN not in tools.ran


def test_a_tests_time_is_its_own_and_not_its_fixtures() -> None:
    timeout = in_cluster(5)[1].mark
    assert (timeout.name, timeout.args, timeout.kwargs) == ("timeout", (5,), {"func_only": True})
