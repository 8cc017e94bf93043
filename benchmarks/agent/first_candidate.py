"""From the start of `dspy-agent solve` until its first command runs in a fork (the check, on the untouched copy).

    python benchmarks/agent/first_candidate.py [--runs 5]

The check writes the time at which it runs. Prints a JSON line: median and range of seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECK = f"""{sys.executable} -S -c 'import sys, time; print("ran at", time.time(), file=sys.stderr); sys.exit(1)'"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    values = [seconds_to_first_command() for _ in range(parser.parse_args().runs)]
    result = {
        "benchmark": "first_candidate",
        "seconds_median": round(statistics.median(values), 3),
        "seconds_range": [round(min(values), 3), round(max(values), 3)],
        "load_average": os.getloadavg()[0],
    }
    print(json.dumps(result))


def seconds_to_first_command() -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "repo").mkdir()
        (folder / "repo/a.py").write_text("x = 1\n")
        events = folder / "events.jsonl"
        argv = [
            sys.executable,
            "-m",
            "dspy_agent.cli",
            "solve",
            "--repo",
            str(folder / "repo"),
            "--check",
            CHECK,
        ]
        started = time.time()
        subprocess.run(
            [*argv, "--budget-seconds", "20", "--events", str(events)], check=False, capture_output=True
        )
        for line in events.read_text().splitlines():
            event = json.loads(line)
            if event["type"] == "check_before":
                return float(event["data"]["stderr_tail"].split()[-1]) - started
        raise AssertionError("the check never ran")


if __name__ == "__main__":
    main()
