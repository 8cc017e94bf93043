"""What the loop itself costs per step: a scripted policy reads one file N times on the real runner, log in a file.

    python benchmarks/agent/loop_cost.py [--runs 5]

Prints a JSON line per length: median and range of milliseconds per step over the runs, and the peak memory so far.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from dspy_agent.core.budget import Budget, Limits
from dspy_agent.core.events import JsonlLog
from dspy_agent.core.journal import Journal
from dspy_agent.core.loop import Loop
from dspy_agent.core.policy import Context, Finish, Observation, Task, ToolCall
from dspy_agent.core.runner import Runner
from dspy_agent.core.tools import ToolContext, default_tools
from dspy_agent.core.workspace import Workspace
from dspy_agent.local_runner import local_runner
from dspy_agent.sources.pack import pack_folder

TURNS = (20, 100, 400)


class Reader:
    """Reads the same file `turns` times."""

    def __init__(self, turns: int) -> None:
        self._turns = turns

    def steps(self, task: Task, context: Context) -> Generator[ToolCall, Observation, Finish]:
        del task, context
        for _ in range(self._turns):
            observation = yield ToolCall("read_file", {"path": "file.txt"})
            assert observation.ok
        return Finish("Done", "Read.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name, local_runner() as runner:
        folder = Path(name)
        (folder / "repo").mkdir()
        (folder / "repo/file.txt").write_text("A line of text.\n" * 100)
        packed = pack_folder(folder / "repo")
        with packed.archive:
            runner.put_archive(packed.archive)
        measured: dict[int, list[float]] = {turns: [] for turns in TURNS}
        for run in range(runs):
            for turns in TURNS:
                measured[turns].append(ms_per_step(runner, folder / f"{run}-{turns}.jsonl", turns))
    for turns, values in measured.items():
        print(json.dumps(summary(turns, values)))


def ms_per_step(runner: Runner, log_path: Path, turns: int) -> float:
    log = JsonlLog(log_path)
    context = ToolContext(Task("", ("true",)), Workspace(runner))
    loop = Loop(default_tools(), context, Journal(log), Budget(Limits()))
    started = time.perf_counter()
    loop.run(Reader(turns), Context(check_before={}))
    seconds = time.perf_counter() - started
    log.close()
    return seconds / turns * 1000


def summary(turns: int, values: list[float]) -> dict[str, object]:
    return {
        "benchmark": "loop_cost",
        "turns": turns,
        "ms_per_step_median": round(statistics.median(values), 3),
        "ms_per_step_range": [round(min(values), 3), round(max(values), 3)],
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "load_average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
