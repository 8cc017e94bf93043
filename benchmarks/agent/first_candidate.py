"""From the start of `dspy-agent solve` until its first candidate edit runs in the sandbox.

    python benchmarks/agent/first_candidate.py [--runs 5]

The repository is a module and its pytest file with one wrong comparison. In between lie: starting Python and the env
runner, the check on the untouched copy and the probe beside it, localisation, generation, and the harness's own start.
The harness notes the time at which it hands the first candidate to a process. Prints a JSON line: median and range of
seconds.
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

PROGRAM = """
def page_count(items, per_page):
    full = items // per_page
    if items % per_page > 1:
        return full + 1
    return full
"""
TESTS = """
from pages import page_count


def test_full_pages():
    assert page_count(20, 10) == 2


def test_one_more():
    assert page_count(21, 10) == 3
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    values = [seconds_to_first_candidate() for _ in range(parser.parse_args().runs)]
    result = {
        "benchmark": "first_candidate",
        "seconds_median": round(statistics.median(values), 3),
        "seconds_range": [round(min(values), 3), round(max(values), 3)],
        "load_average": os.getloadavg()[0],
    }
    print(json.dumps(result))


def seconds_to_first_candidate() -> float:
    with tempfile.TemporaryDirectory() as name:
        repo, events = Path(name) / "repo", Path(name) / "events.jsonl"
        repo.mkdir()
        (repo / "pages.py").write_text(PROGRAM)
        (repo / "test_pages.py").write_text(TESTS)
        check = f"{sys.executable} -m pytest -q test_pages.py"
        argv = [sys.executable, "-m", "dspy_agent.cli", "solve", "--repo", str(repo), "--check", check]
        started = time.time()
        subprocess.run(
            [*argv, "--budget-seconds", "60", "--events", str(events)],
            check=True,
            capture_output=True,
            # The plugins of this environment belong to the project's own tests.
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )
        return first_candidate_at(events) - started


def first_candidate_at(events: Path) -> float:
    """Seconds since the epoch, from the collected answers of the first screening."""
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event["data"].get("arguments", {}).get("purpose") == "screen":
            for text in event["data"]["value"]["results"][0]["collected"].values():
                return float(json.loads(text.splitlines()[0])["first_candidate_at"])
    raise AssertionError("no candidate was screened")


if __name__ == "__main__":
    main()
