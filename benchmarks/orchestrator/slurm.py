"""What the backend adds to Slurm, beside plain sbatch and slurmrestd: `python -m benchmarks.orchestrator.slurm`.

Starts a real Slurm of one node, runs the Go benchmarks of `orchestrator-go/internal/backend/slurm` round after round,
and prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys

from tools.common.paths import REPOSITORY
from tools.common.process import ToolError, run

PACKAGE = "./internal/backend/slurm"
LINE = re.compile(
    r"^BenchmarkSlurm/(\w+)/([\w-]+?)(?:-\d+)?\s+\d+\s.*?([\d.]+) p50-ms\s+([\d.]+) p99-ms", re.MULTILINE
)
NAMES = {"cli": "sbatch", "rest": "slurmrestd"}
LONGEST_SECONDS = 900

# p50 and p99 of each round, by kind and benchmark
Figures = dict[tuple[str, str], list[tuple[float, float]]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=100, help="jobs submitted in a round, of each kind")
    parser.add_argument(
        "--ends", type=int, default=20, help="jobs whose ends are awaited in a round, of each kind"
    )
    arguments = parser.parse_args()
    figures: Figures = {}
    for number in range(arguments.rounds):
        gather(figures, "^(bare-submit|submit)$", arguments.jobs)
        gather(figures, "^seen$", arguments.ends)
        print(f"round {number + 1}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    if not figures:
        print("no figures: Slurm is not installed; `make setup` does it", file=sys.stderr)
        return 1
    print(
        f"{arguments.rounds} rounds; median (range), milliseconds. Load {os.getloadavg()[0]:.1f} at the end.\n"
    )
    print("| through | alone: p50 | the backend's submission: p50 | more | end seen after: p50 | p99 |")
    print("|---|---|---|---|---|---|")
    for kind, name in NAMES.items():
        bare, ours, seen = (figures.get((kind, what), []) for what in ("bare-submit", "submit", "seen"))
        cells = [
            summary([p50 for p50, _ in bare]),
            summary([p50 for p50, _ in ours]),
            summary([mine[0] - plain[0] for mine, plain in zip(ours, bare, strict=True)]),
            summary([p50 for p50, _ in seen]),
            summary([p99 for _, p99 in seen]),
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


def gather(figures: Figures, which: str, times: int) -> None:
    """Adds p50 and p99 of each benchmark that `which` names. Raises ToolError when Go fails."""
    argv = ["go", "test", "-run", "^$", "-bench", f"Slurm/.*/{which}", "-benchtime", f"{times}x", PACKAGE]
    text = run(argv, cwd=REPOSITORY / "orchestrator-go", timeout_seconds=LONGEST_SECONDS)
    for kind, what, p50, p99 in LINE.findall(text):
        figures.setdefault((kind, what), []).append((float(p50), float(p99)))


def summary(values: list[float]) -> str:
    """Median and range."""
    if not values:
        return "-"
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ToolError as error:
        sys.exit(f"benchmark: {error}")
