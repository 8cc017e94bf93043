"""A pool's pods, played: the scheduler and the kubelet start them, a stand-in for the agent takes sessions in each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.operator.fake_kubelet import FakeKubelet
from tests.operator.kube import Kube, Object
from tests.operator.stand_in_agent import StandInAgent


class WarmPods:
    """The pods of one namespace's pools."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        self.kubelet = FakeKubelet(kube)
        self.agents: dict[str, StandInAgent] = {}

    def start(self, pool: str, count: int) -> list[str]:
        """Waits for so many unclaimed pods, and starts those that are not started. Returns all their names."""
        pods = self.exist(pool, count)
        for pod in pods:
            if pod["metadata"]["name"] not in self.agents:
                self.kubelet.start(pod["metadata"]["name"], self.agent(pod).address)
        return sorted(pod["metadata"]["name"] for pod in pods)

    def exist(self, pool: str, count: int) -> list[Object]:
        """Waits until the pool has so many unclaimed pods that were not asked to go."""
        pods = self.kube.until_list(
            "pods", f"dspyagent.io/pool={pool}", lambda pods: len(self.staying(pods)) == count
        )
        return self.staying(pods)

    @staticmethod
    def staying(pods: list[Object]) -> list[Object]:
        """Those that were not asked to go."""
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def agent(self, pod: Object) -> StandInAgent:
        """A new agent for the pod."""
        variables = pod["spec"]["containers"][0]["env"]
        digest = next(each["value"] for each in variables if each["name"] == "DSPY_AGENT_BIND_TOKEN_SHA256")
        self.agents[pod["metadata"]["name"]] = StandInAgent(digest)
        return self.agents[pod["metadata"]["name"]]


@contextmanager
def warm_pods(kube: Kube) -> Iterator[WarmPods]:
    """Stops their agents at the end."""
    made = WarmPods(kube)
    try:
        yield made
    finally:
        for agent in made.agents.values():
            agent.stop()
