"""Writes down objects as a release's operator leaves them: run it in that release's checkout, from its root.

    python CAPTURE.PY live.json

The charts beside it are what `helm package charts/dspy-agent charts/dspy-agent-crds` made there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.charts.apiserver import running_apiserver
from tests.operator.fake_kubelet import FakeKubelet, report, result
from tests.operator.kube import CRDS, Kube
from tests.operator.process import OperatorProcess

SESSION = {"task": {"prompt": "fix it", "check": {"command": ["pytest"]}}, "policy": {"search": {}}}
DROPPED = ("managedFields", "resourceVersion", "creationTimestamp", "generation", "namespace")


def main(target: Path, folder: Path) -> None:
    with running_apiserver(folder) as server:
        server.kubectl("apply", "--server-side", "-f", str(CRDS))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        kube = Kube(server.http, "live")
        kube.create_namespace()
        with OperatorProcess(server.kubeconfig, "live", folder):
            reach_states(kube, FakeKubelet(kube))
        kinds = {"agentsessions": "AgentSession", "envtasks": "EnvTask", "pods": "Pod"}
        found = [
            {**each, "kind": kind, "apiVersion": "v1" if kind == "Pod" else "dspyagent.io/v1alpha1"}
            for plural, kind in kinds.items()
            for each in kube.list(plural)
        ]
    for each in found:
        for name in DROPPED:
            each["metadata"].pop(name, None)
    target.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def reach_states(kube: Kube, kubelet: FakeKubelet) -> None:
    """A session and a task at work, and one of each that has ended."""
    for name in ("works", "solved"):
        kube.session(name, **SESSION, workspace={"empty": {}})
        kube.until_condition("agentsessions", name, "Reconciling")
        kubelet.start(name)
        kube.until_condition("agentsessions", name, "Ready")
    kubelet.finish("solved", report())
    kube.until_condition("agentsessions", "solved", "Finished")
    for name in ("runs", "passed"):
        kube.task(name, command=["true"])
        kube.until_condition("envtasks", name, "Reconciling")
        kubelet.run_task(f"{name}-1")
    kubelet.end_task("passed-1", 0, result(exitCode=0, reason="Completed"))
    kube.until_condition("envtasks", "passed", "Complete")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1]), Path(scratch))
