"""A command of an EnvTask has effects outside its pod: none happens twice, whoever dies, unless the spec allows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.e2e.cluster_servers import counter
from tests.e2e.kube import Kube, condition
from tests.e2e.manifests import env_task
from tests.e2e.marks import in_cluster
from tests.e2e.portforward import port_forward
from tests.e2e.release import kill, recovered, without_operator

pytestmark = in_cluster(420)

# Counts itself, and then waits to be let go: whatever happens meanwhile happens in the middle of the command.
COMMAND = """
import sys
from urllib.request import Request, urlopen
url, name = sys.argv[1:]
urlopen(Request(f"{url}/count/{name}", method="POST"), timeout=30).read()
urlopen(f"{url}/released/{name}", timeout=250).read()
"""
# The same, of one run of many: each counts itself apart.
RUN = "import os, sys\nsys.argv[2] += '-' + os.environ['JOB_COMPLETION_INDEX']\n" + COMMAND


@dataclass(frozen=True)
class Counter:
    """The counter as the test sees it; `inside` is its URL for commands."""

    client: httpx.Client
    inside: str

    def wait(self, name: str) -> None:
        self.client.get(f"/counted/{name}").raise_for_status()

    def release(self, name: str) -> None:
        self.client.post(f"/release/{name}").raise_for_status()

    def number(self, name: str) -> int:
        return int(self.client.get(f"/count/{name}").raise_for_status().text)


@pytest.fixture(scope="module")
def effects(kube: Kube) -> Iterator[Counter]:
    kube.apply(*counter())
    kube.run("wait", "pod/counter", "--for=condition=Ready", "--timeout=120s", timeout=130)
    with (
        port_forward(kube, "service/counter", 8000) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=250) as client,
    ):
        yield Counter(client, f"http://counter.{kube.namespace}.svc:8000")


def start(kube: Kube, effects: Counter, name: str, **spec: object) -> None:
    """A task in the middle of its command."""
    network = {"egress": {"mode": "Allow"}}
    command = ("python3", "-c", COMMAND, effects.inside, name)
    kube.apply(env_task(name, *command, network=network, **{"timeoutSeconds": 240, **spec}))
    effects.wait(name)


def assert_ran(kube: Kube, effects: Counter, name: str, ending: str, times: int) -> None:
    status = kube.wait("envtask", name, ending, seconds=240)["status"]
    assert (effects.number(name), status["attempts"]) == (times, times), kube.story("envtask", name)


def test_the_operators_death_in_the_middle_repeats_no_command(
    kube: Kube, release: Kube, effects: Counter
) -> None:
    start(kube, effects, "counts-on")
    kill(release, "operator")
    recovered(release, "operator", "deployment")
    effects.release("counts-on")
    assert_ran(kube, effects, "counts-on", "Complete", times=1)


def test_the_operators_death_in_the_middle_of_many_runs_repeats_none(
    kube: Kube, release: Kube, effects: Counter
) -> None:
    command = ("python3", "-c", RUN, effects.inside, "runs")
    network = {"egress": {"mode": "Allow"}}
    kube.apply(env_task("runs", *command, network=network, timeoutSeconds=240, completions=4, parallelism=2))
    runs = [f"runs-{index}" for index in range(4)]
    for name in runs[:2]:
        effects.wait(name)
    kill(release, "operator")
    for name in runs[:2]:
        effects.release(name)
    recovered(release, "operator", "deployment")
    for name in runs[2:]:
        effects.wait(name)
        effects.release(name)
    status = kube.wait("envtask", "runs", "Complete", seconds=240)["status"]
    assert (status["attempts"], status["succeeded"]) == (4, 4), kube.story("envtask", "runs")
    assert [effects.number(name) for name in runs] == [1, 1, 1, 1]


def test_a_command_that_ends_while_no_operator_looks_is_not_repeated(
    kube: Kube, release: Kube, effects: Counter
) -> None:
    start(kube, effects, "counts-alone")
    with without_operator(release):
        effects.release("counts-alone")
        kube.run("wait", "pod/counts-alone-1", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s",
                 timeout=70)  # fmt: skip
    assert_ran(kube, effects, "counts-alone", "Complete", times=1)


def delete_pod(kube: Kube, _release: Kube, pod: str) -> None:
    kube.run("delete", "pod", pod, "--grace-period=0", "--force", "--wait=true")


def delete_pod_unseen(kube: Kube, release: Kube, pod: str) -> None:
    with without_operator(release):
        delete_pod(kube, release, pod)


LOSSES = {"seen": delete_pod, "unseen": delete_pod_unseen}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_command_runs_again_only_where_the_spec_allows_it(
    kube: Kube, release: Kube, effects: Counter, loss: str
) -> None:
    once, again = f"lost-{loss}", f"lost-{loss}-retried"
    start(kube, effects, once)
    start(kube, effects, again, backoffLimit=1)
    for name in (once, again):
        LOSSES[loss](kube, release, f"{name}-1")
        effects.release(name)
    assert_ran(kube, effects, once, "Failed", times=1)
    assert condition(kube.get("envtask", once), "Failed")["reason"] == "InfraError"
    assert_ran(kube, effects, again, "Complete", times=2)
