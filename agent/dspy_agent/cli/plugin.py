"""`kubectl dspy`: what our kinds have done, on the code of `dspy-agent session-show` and the person's own kubectl."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dspy_agent import __version__
from dspy_agent.cli import EXIT_INTERRUPTED, EXIT_USAGE, sentence, session_show
from dspy_agent.clients.kubectl import Kubectl
from dspy_agent.errors import DspyAgentError, UsageError

SESSION, TASK, JOB = (f"{plural}.dspyagent.io" for plural in ("agentsessions", "envtasks", "trainingjobs"))
_KINDS = {
    **dict.fromkeys(("ags", "agentsession", "agentsessions"), SESSION),
    **dict.fromkeys(("envt", "envtask", "envtasks"), TASK),
    **dict.fromkeys(("tjob", "trainingjob", "trainingjobs"), JOB),
}
# The container whose log tells what the object does.
_CONTAINERS = {SESSION: "agent", TASK: "task"}
_CURVE_COLUMNS = 64
_BARS = "▁▂▃▄▅▆▇█"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code; 2 when the command line is wrong or the cluster does not have what was asked for."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except (DspyAgentError, OSError) as error:
        print(f"kubectl dspy: {sentence(error)}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubectl dspy", description="What sessions, tasks and training jobs have done."
    )
    parser.add_argument("--version", action="version", version=f"kubectl-dspy {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb, run, help_text in (
        ("events", _events, "the events of an AgentSession"),
        ("diff", _diff, "the diff that an AgentSession made"),
    ):
        added = verbs.add_parser(verb, help=help_text, description=help_text)
        session_show.add_arguments(added, whole=False)
        added.set_defaults(run=run)
    logs = _verb(
        verbs, "logs", _logs, "the log of the pod of an AgentSession, or of an EnvTask: envtask/NAME"
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    _verb(verbs, "curve", _curve, "the reward of a TrainingJob over its steps")
    return parser


def _verb(
    verbs: Any, name: str, run: Callable[[argparse.Namespace], int], help_text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=help_text, description=help_text)
    parser.add_argument("name", help="NAME or KIND/NAME")
    parser.add_argument("-n", "--namespace", help="default: that of kubectl's context")
    parser.add_argument("--kubeconfig", help="default: kubectl's own")
    parser.set_defaults(run=run)
    return parser


def _events(arguments: argparse.Namespace) -> int:
    return session_show.show(arguments, session_show.Part.EVENTS)


def _diff(arguments: argparse.Namespace) -> int:
    return session_show.show(arguments, session_show.Part.DIFF)


def _logs(arguments: argparse.Namespace) -> int:
    kubectl = Kubectl(arguments.kubeconfig)
    resource, name = _named(arguments.name, SESSION)
    if resource not in _CONTAINERS:
        raise UsageError(
            "A TrainingJob's log is its backend's: see status.dashboardURL, or dspy-agent tasks."
        )
    found = kubectl.get(resource, name, arguments.namespace)
    pod = (found.get("status") or {}).get("podName")
    if pod is None:
        raise UsageError(f"{name} has no pod now: see `kubectl describe {resource} {name}`.")
    return kubectl.logs(pod, _CONTAINERS[resource], found["metadata"]["namespace"], follow=arguments.follow)


def _curve(arguments: argparse.Namespace) -> int:
    resource, name = _named(arguments.name, JOB)
    if resource != JOB:
        raise UsageError("Only a TrainingJob has a curve.")
    job = Kubectl(arguments.kubeconfig).get(resource, name, arguments.namespace)
    progress = (job.get("status") or {}).get("progress") or {}
    points = [(point["step"], float(point["value"])) for point in progress.get("curve") or ()]
    if not points:
        raise UsageError(f"{name} has not told its progress yet.")
    print("\n".join(_drawn(points)))
    return 0


def _drawn(points: list[tuple[int, float]]) -> list[str]:
    """A line of bars between the lowest value and the highest, and what they stand for."""
    values = [value for _, value in points][-_CURVE_COLUMNS:]
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    bars = "".join(_BARS[round((value - low) * scale)] for value in values)
    steps = f"steps {points[-len(values)][0]} to {points[-1][0]}"
    return [bars, f"{steps}: lowest {low:g}, highest {high:g}, last {values[-1]:g}"]


def _named(text: str, default: str) -> tuple[str, str]:
    kind, slash, name = text.rpartition("/")
    if not slash:
        return default, text
    if kind.lower() not in _KINDS:
        raise UsageError(f"{kind} is none of {', '.join(_KINDS)}.")
    return _KINDS[kind.lower()], name
