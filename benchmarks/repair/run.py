"""Repairs every example with `dspy-agent solve` and prints a Markdown table.

    python3 -m benchmarks.repair.run [--python PATH] [--seconds 60] [--out FILE] [NAME...]

`--python` is the interpreter of the check (it needs pytest). A row compares our patch with upstream's release only by
place: `same place` means that some changed line lies within three lines of one that upstream changed.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples import prepare

NEAR_LINES = 3
HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? ", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """One repair: how it ended, candidates tried, wall seconds, changed lines, place relative to upstream's fix."""

    name: str
    outcome: str
    tried: int
    seconds: float
    lines: int
    place: str


def measure(name: str, python: str, seconds: int) -> Row:
    """Lay the example out and repair it. Raises CalledProcessError when `solve` itself cannot run."""
    bug = prepare.load(name)
    before, after = prepare.workspace(bug), prepare.workspace(bug, fixed=True)
    with tempfile.TemporaryDirectory() as folder:
        repo = Path(folder) / name
        prepare.write(before, repo)
        result = solve(repo, python, seconds)
    patch = result["patch"] or ""
    changed = [line for line in patch.splitlines() if re.match(r"[+-](?![+-]{2} )", line)]
    place = "-" if not patch else "same place" if near(patch, before, after) else "elsewhere"
    return Row(name, result["outcome"], result["candidates_run"], result["seconds"], len(changed), place)


def solve(repo: Path, python: str, seconds: int) -> dict[str, Any]:
    """What `dspy-agent solve --json` prints."""
    command = shutil.which(
        "dspy-agent", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    options = ["--repo", str(repo), "--check", f"{python} -m pytest -q test_regression.py", "--json"]
    options += ["--budget-seconds", str(seconds), "--protect", "test_regression.py"]
    result = subprocess.run(
        [command or "dspy-agent", "solve", *options], capture_output=True, text=True, check=False
    )
    if result.returncode == 2:
        raise subprocess.CalledProcessError(2, "dspy-agent solve", result.stdout, result.stderr)
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def near(patch: str, before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """Whether the patch changes a line close to one that differs between the releases."""
    path = patch.split("--- a/", 1)[1].splitlines()[0]
    old, new = (files.get(path, b"").decode(errors="replace").splitlines() for files in (before, after))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    theirs = {line for tag, a, b, _, _ in matcher.get_opcodes() if tag != "equal" for line in range(a, b + 1)}
    ours = changed_lines(patch)
    return any(abs(first - second) <= NEAR_LINES for first in ours for second in theirs)


def changed_lines(patch: str) -> set[int]:
    """Line indexes (from 0) of the old file that the patch touches."""
    touched, line = set(), 0
    for text in patch.splitlines():
        if hunk := HUNK.match(text):
            line = int(hunk[1]) - 1
        elif text.startswith(("-", "+")) and not text.startswith(("---", "+++")):
            touched.add(line)
            line += text.startswith("-")
        elif text.startswith(" "):
            line += 1
    return touched


def table(rows: list[Row]) -> str:
    """Markdown, with the solve rate below."""
    lines = [
        "| bug | outcome | candidates | seconds | changed lines | upstream's fix |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.outcome} | {row.tried or '-'} | {row.seconds:.1f} | {row.lines or '-'} | {row.place} |"
        for row in rows
    ]
    solved = sum(row.outcome == "Solved" for row in rows)
    return "\n".join([*lines, "", f"Solved: {solved} of {len(rows)}."])


def main() -> None:
    """Run and print; progress on stderr."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.repair.run")
    parser.add_argument("names", nargs="*", default=prepare.all_names())
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.names:
        rows.append(measure(name, arguments.python, arguments.seconds))
        print(rows[-1], f"load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    print(table(rows))
    if arguments.out:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        head = f"# Repair without a model\n\n{os.cpu_count()} cores, load {load}, {arguments.seconds} s each.\n\n"
        arguments.out.write_text(head + table(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
