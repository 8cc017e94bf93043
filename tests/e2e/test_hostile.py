"""Hostile code in a session: nothing that must be closed is open to it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.events import only, recorded
from tests.e2e.kube import Kube, Manifest
from tests.e2e.manifests import BUGGY_FILES, config_map, session
from tests.e2e.marks import in_cluster

pytestmark = in_cluster(420)

FILES = {**BUGGY_FILES, "attack.py": Path(__file__).with_name("attack.py").read_text()}
# What a service says to those without a token, or a connection that it does not take.
CLOSED = {"401", "403", "NOAUTH", "ConnectionRefusedError"}


def test_hostile_code_finds_no_network_and_no_tokens(kube: Kube) -> None:
    """The check plays the attacker: it passes only if something that must be closed is open."""
    task = {"prompt": "x", "check": {"command": ["python3", "attack.py"]}, "protectedPaths": ["*"]}
    kube.apply(config_map("hostile", FILES), session("hostile", task=task))
    done = kube.wait("agentsession", "hostile", "Finished", seconds=120)
    assert done["status"]["result"]["outcome"] == "Unsolved", kube.story("agentsession", "hostile")
    check = only(recorded(kube, "hostile"), "check_before")
    assert (check["reason"], check["exit_code"]) == ("NonZeroExit", 1), check
    assert printed(check["stdout_tail"]) == {"open": [], "answers": {}}


def test_with_the_network_nothing_answers_without_a_token(kube: Kube, release: Kube) -> None:
    services = services_of(kube, release)
    check = {"command": ["python3", "attack.py", json.dumps(services)]}
    spec: Manifest = {
        "task": {"prompt": "x", "check": check, "protectedPaths": ["*"]},
        "network": {"egress": {"mode": "Allow"}},
    }
    kube.apply(config_map("networked", FILES), session("networked", **spec))
    kube.wait("agentsession", "networked", "Finished", seconds=120)
    done = only(recorded(kube, "networked"), "check_before")
    assert (done["reason"], done["exit_code"]) == ("NonZeroExit", 1), done
    said = printed(done["stdout_tail"])
    assert said["open"] == []
    answers = said["answers"]
    assert answers.keys() == services.keys()
    assert {name: answer for name, answer in answers.items() if answer not in CLOSED} == {}
    # The attack did reach the network: each of these is there, and said no.
    for name in ("agent", "agent's events", "agent by its address", "orchestrator", "RedDB"):
        assert answers[name] == "401", answers
    assert answers["RedDB for Redis clients"] == "NOAUTH"
    assert answers["API server"] in {"401", "403"}
    assert answers["runner by its address"] == "ConnectionRefusedError"


def services_of(kube: Kube, release: Kube) -> dict[str, str]:
    """All that listens within reach of a session's pod, POD being its address."""
    inside = f"{release.namespace}.svc"
    return {
        "agent": "http://127.0.0.1:9000/v1/session",
        "agent's events": "http://127.0.0.1:9000/v1/events",
        "agent by its address": "http://POD:9000/v1/events",
        "runner": "http://127.0.0.1:8080/v1/info",
        "runner by its address": "http://POD:8080/v1/info",
        "shared runners": f"http://dspy-agent-runners.{inside}:8080/v1/info",
        "orchestrator": f"http://dspy-agent-orchestrator.{inside}:9097/v1/tasks",
        "RedDB": f"http://reddb.{inside}:8082/v1/kv/a",
        "RedDB for Redis clients": f"redis://reddb.{inside}:6380",
        "API server": f"https://kubernetes.default.svc/api/v1/namespaces/{kube.namespace}/secrets",
    }


def printed(output: str) -> Manifest:
    """The attack's last line."""
    said: Manifest = json.loads(output.splitlines()[-1])
    return said
