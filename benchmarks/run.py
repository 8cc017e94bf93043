"""Runs every benchmark, one after another, and writes the results: `python -m benchmarks.run [--only NAME...]`.

A benchmark that fails or misses a goal is reported, the others still run, and the command ends with status 1. With
`--only`, the results of the other benchmarks are kept as they are. benchmarks/README.md tells what each measures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.sections import SECTIONS, Section
from tools.common.paths import REPOSITORY, tool
from tools.common.process import ToolError, run
from tools.common.progress import Progress

RESULTS = REPOSITORY / "benchmarks" / "RESULTS.md"
LONGEST_SECONDS = 3600
CLUSTER = "bench"
HEAD = """# Results

Written by `make bench`; [README.md](README.md) tells what each benchmark measures and how to run one alone.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    names = [section.name for section in SECTIONS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    progress = Progress()
    texts, failed = read(arguments.out), []
    for section in SECTIONS:
        if section.name not in arguments.only:
            continue
        machine = machine_facts()
        try:
            with progress.step(f"measuring {section.name}"):
                text = measure(section, progress)
            failed += [
                f"{section.name} ({goal.text})" for goal in section.goals if goal.verdict(text) != "held"
            ]
            body = report(section, text)
        except ToolError as error:
            progress.line(f"{section.name} failed: {error}")
            failed.append(section.name)
            body = f"Failed:\n\n```\n{shown(str(error))}\n```"
        texts[section.name] = f"{machine}\n\n{commands_of(section)}\n\n{body}"
        # Written each time: an interrupted run keeps what it has measured.
        write(arguments.out, texts)
    if failed:
        print(f"failed or missed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measure(section: Section, progress: Progress) -> str:
    """The Markdown that the section's commands print. Raises ToolError when one fails."""
    if section.needs_cluster:
        with cluster(progress) as kubeconfig:
            return output(section, {"KUBECONFIG": str(kubeconfig)})
    return output(section, {})


def output(section: Section, extra: Mapping[str, str]) -> str:
    programs = [
        Path(sys.executable).parent,
        tool("helm").parent,
        Path("/usr/local/go/bin"),
        os.environ["PATH"],
    ]
    environment = {**os.environ, "PATH": os.pathsep.join(map(str, programs)), **extra}
    printed = [
        run(command, cwd=section.folder, env=environment, timeout_seconds=LONGEST_SECONDS)
        for command in section.commands
    ]
    return "\n\n".join(markdown(text.strip()) for text in printed)


@contextmanager
def cluster(progress: Progress) -> Iterator[Path]:
    """A cluster of our own with the chart on it, removed at the end; yields its kubeconfig."""
    # A KUBECONFIG in the caller's shell must not become what is measured.
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}

    def call(module: str, *words: str) -> str:
        argv = [sys.executable, "-m", module, *words, "--name", CLUSTER]
        return run(argv, cwd=REPOSITORY, env=environment, timeout_seconds=LONGEST_SECONDS)

    try:
        with progress.step(f"bringing cluster {CLUSTER} up, with the chart"):
            call("tools.cluster", "up")
            call("tools.install")
        yield Path(call("tools.cluster", "kubeconfig").strip())
    finally:
        call("tools.cluster", "down")


def markdown(text: str) -> str:
    """Markdown as printed, its headings below ours; JSON documents become tables."""
    if not text.startswith("{"):
        return re.sub(r"^#+ ", "### ", text, flags=re.MULTILINE)
    tables, decoder = [], json.JSONDecoder()
    while text:
        document, end = decoder.raw_decode(text)
        rows = [f"| {name} | {value} |" for name, value in flat(document)]
        tables.append("\n".join(["| figure | value |", "|---|---|", *rows]))
        text = text[end:].lstrip()
    return "\n\n".join(tables)


def flat(document: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Names and values, `outer: inner` where values are objects."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from ((f"{name}: {inner}", number) for inner, number in value.items())
        elif isinstance(value, list):
            yield name, ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value)
        else:
            yield name, value


def report(section: Section, text: str) -> str:
    rows = [goal.row(text) for goal in section.goals]
    return "\n".join(["| goal | measured | |", "|---|---|---|", *rows, "", text])


def commands_of(section: Section) -> str:
    folder = section.folder.relative_to(REPOSITORY)
    where = "" if folder == Path() else f" in `{folder}`"
    words = [
        shlex.join(["python" if word == sys.executable else word for word in argv])
        for argv in section.commands
    ]
    return " · ".join(f"`{line}`" for line in words) + where + "."


def machine_facts() -> str:
    """Processor, cores, memory, kernel and load of this moment; sections may come from different machines."""
    cpuinfo, meminfo = Path("/proc/cpuinfo").read_text(), Path("/proc/meminfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    memory = re.search(r"MemTotal:\s*(\d+) kB", meminfo)
    gib = f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "memory unknown"
    name = model[1] if model else platform.machine()
    kernel = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} cores of {name}, {gib}, {kernel}; load average {os.getloadavg()[0]:.1f} at the start."


def shown(text: str) -> str:
    """Without this machine's paths: results are committed."""
    return text.replace(f"{REPOSITORY}/", "").replace(str(Path.home()), "~")


def read(path: Path) -> dict[str, str]:
    """Sections of earlier results, by name."""
    if not path.exists():
        return {}
    parts = re.split(r"^## (.+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def write(path: Path, texts: Mapping[str, str]) -> None:
    """All sections in the order of SECTIONS."""
    ordered = [
        f"## {section.name}\n\n{texts[section.name]}\n" for section in SECTIONS if section.name in texts
    ]
    path.write_text("\n".join([HEAD, *ordered]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
