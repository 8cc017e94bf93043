"""A cluster in memory, an operator's context, and a clock that is turned by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dspy_operator.names import Key
from dspy_operator.reconcile.context import Context
from dspy_operator.reconcile.start import note_loss
from dspy_operator.store import PODS, Object, Store

from tests.operator import builders
from tests.operator.fake_agents import FakeAgents
from tests.operator.fake_cluster import FakeCluster


class World:
    """A context with a clock that is turned by hand."""

    def __init__(self, tmp_path: Path) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.cluster = FakeCluster()
        self.settings = builders.settings(tmp_path / "token")
        self.agents, self.woken = FakeAgents(), list[Key]()
        self.ctx = self._context()

    def _context(self) -> Context:
        async def wake(key: Key) -> None:
            self.woken.append(key)

        return Context(self.settings, self.cluster, self.agents, Store(), lambda: self.time, wake)

    def forget(self) -> None:
        """What a restart does: everything that was only in memory is gone, nothing is listed yet."""
        self.ctx = self._context()

    def restart(self, key: Key) -> None:
        """A restart after which that one object is listed, and neither its pods nor anything else."""
        seen = self.seen(key)
        self.forget()
        self.ctx.store.put(key.plural, seen)

    def seen(self, key: Key) -> Object:
        seen = self.ctx.store.get(key)
        assert seen is not None
        return seen

    def status(self, key: Key) -> Object:
        status: Object = self.seen(key)["status"]
        return status

    def watch_pod(self, name: str, **status: Any) -> None:
        """The kubelet changed that pod, and the watch shows it."""
        pod = self.cluster.pods[name]
        pod["metadata"]["resourceVersion"] = str(int(pod["metadata"]["resourceVersion"]) + 1000)
        pod["status"].update(status)
        self.ctx.store.put(PODS, pod)

    def lose_pod(self, name: str, *, unseen: bool = False) -> None:
        """The pod is gone from the cluster; `unseen`: no watch shows it go."""
        pod = self.cluster.pods.pop(name)
        if not unseen:
            note_loss(self.ctx, pod)
            self.ctx.store.remove(PODS, pod)
