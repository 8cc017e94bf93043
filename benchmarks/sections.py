"""What is measured: each section's commands, and the goals that its figures are held against."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tools.common.paths import REPOSITORY

PYTHON = sys.executable


@dataclass(frozen=True)
class Goal:
    """A bound on one figure of a section's Markdown.

    Attributes:
        measured: finds the figure; None when the Markdown has none.
        bound: the largest value that holds the goal, or the smallest where `at_least`.
    """

    text: str
    measured: Callable[[str], float | None]
    bound: float
    at_least: bool = False

    def verdict(self, markdown: str) -> str:
        """`held`, `missed` or `not measured`."""
        value = self.measured(markdown)
        if value is None:
            return "not measured"
        held = value >= self.bound if self.at_least else value <= self.bound
        return "held" if held else "missed"

    def row(self, markdown: str) -> str:
        """A table row: the goal, the figure and the verdict."""
        value = self.measured(markdown)
        figure = "-" if value is None else f"{value:,g}"
        return f"| {self.text} | {figure} | {self.verdict(markdown)} |"


@dataclass(frozen=True)
class Section:
    """One component's benchmark; its commands run one after another in `folder`.

    Attributes:
        needs_cluster: the commands get a KUBECONFIG of a cluster that has the chart.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    goals: tuple[Goal, ...] = ()
    folder: Path = field(default=REPOSITORY)
    needs_cluster: bool = False


def first(pattern: str) -> Callable[[str], float | None]:
    """The first number that the pattern's group finds."""

    def find(markdown: str) -> float | None:
        found = re.search(pattern, markdown)
        return float(found[1].replace(",", "")) if found else None

    return find


def writes_per_session(markdown: str) -> float | None:
    """The operator's own writes, and per binding two of the scheduler's: the binding and its event."""
    own = re.findall(r"\| operator_writes_per_session: .*? \| ([\d.]+) \|", markdown)
    bindings = first(r"\| all_writes_per_session: \w+ pods/binding \| ([\d.]+)")(markdown)
    if not own or bindings is None:
        return None
    return round(sum(float(number) for number in own) + 2 * bindings, 2)


def ready_after(workspace: str) -> Callable[[str], float | None]:
    """The median of the table of benchmarks/agent/bind.py whose workspace begins like that."""
    return first(rf"\| workspace \| {workspace}[^|]*\|\n\| runs [^\n]*\n\| ms_to_ready_median \| ([\d.]+)")


def slurm(through: str, column: int) -> Callable[[str], float | None]:
    """A median of a row of the table of benchmarks/orchestrator/slurm.py; columns count from 0."""
    return first(rf"\| {through} \|(?:[^|]*\|){{{column}}} (-?[\d.]+) \(")


SECTIONS = (
    Section(
        "env-runner",
        ((PYTHON, "benchmarks/env-runner/bench.py"),),
        (Goal("`/bin/true`, sandboxed, p50: at most 5 ms", first(r"/exec`, sandboxed \| ([\d.]+)"), 5),),
    ),
    Section(
        "reddb",
        ((PYTHON, "benchmarks/reddb/run.py"),),
        (
            Goal(
                "durable SET at 50 clients: at least as many as Redis (ratio 1)",
                first(r"\| SET, 50 clients \|.*\| ([\d.]+) \("),
                1,
                at_least=True,
            ),
        ),
    ),
    Section(
        "orchestrator",
        (("go", "run", "."),),
        (
            Goal(
                "no-op tasks through orchestrator and runner: at least 10,000 a second",
                first(r"\| orchestrator, reddb [^|]*\| \d+ \| (\d+) \("),
                10_000,
                at_least=True,
            ),
            Goal(
                "acknowledged → begun at 500 a second, p99: at most 5 ms",
                first(r"p99 \|\n\|[-|]+\n\| orchestrator, reddb [^|]*\| \d+ \| [^|]*\| ([\d.]+) ms"),
                5,
            ),
            Goal(
                "a tenant beside another with 100 times its load, p50: at most 1.2 times as long",
                first(r"\| ratio \| \| \| ([\d.]+) \|"),
                1.2,
            ),
            Goal("the same, p99", first(r"\| ratio \| \| \| [\d.]+ \| ([\d.]+) \|"), 1.2),
            Goal(
                "interrupted tasks begin again after kill -9 of the leader, longest: at most 2 s",
                first(r"\| orchestrator, as the command itself says \| 0 \| \d+ \| [\d.]+ \| ([\d.]+) \|"),
                2,
            ),
        ),
        folder=REPOSITORY / "benchmarks" / "orchestrator",
    ),
    Section(
        "limits",
        (("go", "run", ".", "-seeds", "2"),),
        (
            Goal(
                "capacity halves: within 10 % of the best fixed limit after at most 10 s, % of runs: at least 90",
                first(r"ours \(Vegas\), step down: [^(]*\((\d+) %\)"),
                90,
                at_least=True,
            ),
            Goal(
                "capacity returns: the same",
                first(r"ours \(Vegas\), step up: [^(]*\((\d+) %\)"),
                90,
                at_least=True,
            ),
        ),
        folder=REPOSITORY / "benchmarks" / "orchestrator" / "limits",
    ),
    Section(
        "slurm",
        ((PYTHON, "-m", "benchmarks.orchestrator.slurm"),),
        (
            Goal("submission, over sbatch's own: at most 5 ms more", slurm("sbatch", 2), 5),
            Goal("the same over slurmrestd", slurm("slurmrestd", 2), 5),
            Goal("a job's end is seen after, p99: at most 250 ms", slurm("sbatch", 4), 250),
            Goal("the same through slurmrestd", slurm("slurmrestd", 4), 250),
        ),
    ),
    Section(
        "agent",
        ((PYTHON, "benchmarks/agent/first_candidate.py"), (PYTHON, "benchmarks/agent/loop_cost.py")),
        (
            Goal(
                "start of `dspy-agent solve` → first command in a fork: at most 1.5 s",
                first(r"\| seconds_median \| ([\d.]+)"),
                1.5,
            ),
        ),
    ),
    Section(
        "bind",
        ((PYTHON, "-m", "benchmarks.agent.bind"),),
        (
            Goal(
                "bind → Ready, empty workspace, median ms: at most 100",
                ready_after("empty"),
                100,
            ),
            Goal(
                "the same, a ConfigMap of 20 files",
                ready_after("configMap"),
                100,
            ),
            Goal("a waiting agent, resident MiB: at most 128", first(r"\| idle_rss_mib \| ([\d.]+)"), 128),
        ),
    ),
    Section(
        "operator",
        ((PYTHON, "benchmarks/operator/run.py"),),
        (
            Goal(
                "cold session, create → Ready, median: at most 5 s",
                first(r"\| create_to_ready_s: median \| ([\d.]+)"),
                5,
            ),
            Goal(
                "operator, resident MiB: at most 114.4 (120 MB)",
                first(r"\| operator_rss_mib \| ([\d.]+)"),
                114.4,
            ),
            Goal("API server writes per cold session, kubelet's aside: at most 6", writes_per_session, 6),
            Goal(
                "operator's writes in an idle minute, its Lease aside: none",
                first(r"\| operator_writes_while_idle \| (\d+)"),
                0,
            ),
        ),
        needs_cluster=True,
    ),
    Section(
        "repair",
        ((PYTHON, "-m", "benchmarks.repair.run"),),
        (Goal("bugs solved without a model: at least 3", first(r"Solved: (\d+) of"), 3, at_least=True),),
    ),
)
