"""What deploy/ has of the charts: Argo CD's settings, and the manifests of the Kustomize base as Helm renders them."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tools.common import paths
from tools.common.paths import REPOSITORY
from tools.common.process import run

DEPLOY = REPOSITORY / "deploy"
BASE = DEPLOY / "kustomize" / "base"
KINDS = ("AgentPool", "AgentSession", "EnvTask", "TrainingJob")
CONFIG = """\
# Copied from health.lua by tools/charts/sync.py: change it there. A patch, since Argo CD has this ConfigMap:
#   kubectl --namespace argocd patch configmap argocd-cm --patch-file deploy/argocd/argocd-cm.yaml
data:
"""
HEADER = "# Rendered from charts/dspy-agent with values.yaml by tools/charts/sync.py: change it there.\n"


def expected() -> dict[Path, str]:
    """Every derived file by path, with its text."""
    return {DEPLOY / "argocd" / "argocd-cm.yaml": settings(), BASE / "dspy-agent.yaml": rendered()}


def settings() -> str:
    health = textwrap.indent((DEPLOY / "argocd" / "health.lua").read_text(), " " * 4)
    return CONFIG + "".join(
        f"  resource.customizations.health.dspyagent.io_{kind}: |\n{health}" for kind in KINDS
    )


def rendered() -> str:
    """The chart as it is installed in namespace dspy-agent, without the pods of `helm test`."""
    chart = str(REPOSITORY / "charts" / "dspy-agent")
    helm = [
        str(paths.tool("helm")),
        "template",
        "dspy-agent",
        chart,
        "--namespace=dspy-agent",
        "--skip-tests",
    ]
    return HEADER + run([*helm, "--kube-version=1.34.0", f"--values={BASE / 'values.yaml'}"])
