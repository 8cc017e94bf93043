"""The demo: a cluster, the chart on it, and an AgentSession that repairs a bug which once shipped in a real package.

    python3 -m tools.demo [--example NAME] [--install-only]

The cluster stays up afterwards; `make cluster-down` removes it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from shlex import quote

from tools.common.cli import exit_status
from tools.common.paths import REPOSITORY, tool
from tools.common.process import ToolError, run
from tools.common.progress import Progress
from tools.demo_follow import follow
from tools.install import NAMESPACE, install, restrict_namespace

CLUSTER = "demo"
DEMO_NAMESPACE = "demo"
DEFAULT_EXAMPLE = "cachetools-falsy-getsizeof"
PYTHON = REPOSITORY / ".venv" / "bin" / "python"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--example", default=DEFAULT_EXAMPLE, help=f"a folder of examples/ (default: {DEFAULT_EXAMPLE})"
    )
    parser.add_argument("--install-only", action="store_true", help="stop when the chart is installed")
    arguments = parser.parse_args()
    return exit_status(lambda: demo(arguments.example, Progress(), install_only=arguments.install_only))


def demo(example: str, progress: Progress, *, install_only: bool) -> None:
    """Raises ToolError when a step fails or the session ends without a solution."""
    cluster_tool_live("up", "--name", CLUSTER)
    kubeconfig = install(CLUSTER, progress)
    outcome = None if install_only else repair(kubeconfig, example, progress)
    tell_what_next(kubeconfig, None if install_only else example)
    if outcome not in (None, "Solved"):
        raise ToolError(f"The session ended {outcome}: its events above say why.")


def repair(kubeconfig: Path, example: str, progress: Progress) -> str:
    """Apply the example's session, show how it goes and what came of it; return its outcome."""
    session = REPOSITORY / "examples" / example / "session.yaml"
    if not session.exists():
        raise ToolError(f"There is no example {example!r}; examples/README.md lists them.")
    restrict_namespace(kubeconfig, DEMO_NAMESPACE)
    kubectl(kubeconfig, "delete", "agentsession", example, "--ignore-not-found", "--cascade=foreground")
    with progress.step(f"fetching the release with the bug ({example})"):
        workspace = run(
            [PYTHON, "-m", "examples.prepare", example, "--configmap", DEMO_NAMESPACE], cwd=REPOSITORY
        )
    kubectl(kubeconfig, "apply", "--server-side", "-f", "-", stdin=workspace.encode())
    progress.line(f"kubectl apply -f examples/{example}/session.yaml")
    applied = time.monotonic()
    kubectl(kubeconfig, "apply", "-f", str(session))
    outcome = follow(lambda *words: kubectl(kubeconfig, *words), example, progress)
    progress.line(f"{outcome} after {time.monotonic() - applied:.1f} s")
    show(kubeconfig, example)
    return outcome


def show(kubeconfig: Path, session: str) -> None:
    """The table row, the events in plain words, the check before and after, and the diff."""
    print(f"\n$ kubectl get agentsessions --namespace {DEMO_NAMESPACE}", flush=True)
    print(kubectl(kubeconfig, "get", "agentsessions"), flush=True)
    command = [str(PYTHON.with_name("dspy-agent")), "session-show", session, "--namespace", DEMO_NAMESPACE]
    print(f"$ {' '.join(['dspy-agent', *command[1:]])}", flush=True)
    environment = {"KUBECONFIG": str(kubeconfig), "PATH": f"{tool('kubectl').parent}:/usr/bin:/bin"}
    subprocess.run(command, env=environment, check=True, timeout=60)


def tell_what_next(kubeconfig: Path, example: str | None) -> None:
    """Commands to paste; `example` is the session's name, if there is one."""
    print(f"""
The cluster stays up. To look around:

  export KUBECONFIG={quote(str(kubeconfig))} PATH={quote(str(tool("kubectl").parent))}:$PATH:{quote(str(PYTHON.parent))}
  kubectl get ags,envt,agp,tjob -A
  kubectl explain agentsession.spec
  kubectl -n {NAMESPACE} get pods{looking_at(example)}

To remove it all: make cluster-down""")


def looking_at(session: str | None) -> str:
    if session is None:
        return ""
    return f"""
  kubectl -n {DEMO_NAMESPACE} describe agentsession {session}
  dspy-agent session-show {session} --namespace {DEMO_NAMESPACE}"""


def kubectl(kubeconfig: Path, *words: str, stdin: bytes | None = None) -> str:
    return run(
        [tool("kubectl"), "--kubeconfig", kubeconfig, "--namespace", DEMO_NAMESPACE, *words],
        stdin=stdin,
        timeout_seconds=120,
    )


def cluster_tool_live(verb: str, *arguments: str) -> None:
    """Run a verb of tools.cluster with its progress on this terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.cluster", verb, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise ToolError(f"The cluster did not come up (tools.cluster {verb} ended with {done.returncode}).")


if __name__ == "__main__":
    sys.exit(main())
