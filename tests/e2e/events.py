"""What a session recorded, read as people read it: with `dspy-agent session-show`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.e2e.kube import Kube, Manifest


def recorded(kube: Kube, session: str) -> list[Manifest]:
    """The session's events, oldest first; each as contracts/events/session-event.schema.json has it."""
    done = subprocess.run(
        [sys.executable, "-m", "dspy_agent.cli", "session-show", session, "-n", kube.namespace, "--json"],
        env={**os.environ, "KUBECONFIG": str(kube.kubeconfig)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    events: list[Manifest] = json.loads(done.stdout)["events"]
    return events


def only(events: list[Manifest], kind: str) -> Manifest:
    """The data of the one event of that type."""
    (found,) = (event for event in events if event["type"] == kind)
    data: Manifest = found["data"]
    return data
