"""Command line of the setup: installs what is missing, group by group, and says what it does."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from tools.common import paths
from tools.common.lock import exclusive
from tools.common.process import ToolError, run
from tools.common.progress import Progress
from tools.setup import debian, golang, languages, nodeimages
from tools.setup.thing import Thing


def docker_answers() -> bool:
    """With a Docker engine, images are built by it and clusters made by kind."""
    if shutil.which("docker") is None:
        return False
    try:
        run(["docker", "version", "--format={{.Server.Version}}"], timeout_seconds=5)
    except ToolError:
        return False
    return True


def wanted() -> list[Thing]:
    """Everything that this machine needs, in the order in which it can be installed."""
    languages_first = [languages.uv(), languages.environment(), languages.rust_target()]
    if docker_answers():
        kubectl = [] if shutil.which("kubectl") else [golang.kubectl()]
        return [*languages_first, golang.kind(), *kubectl, *golang.checks()]
    return [
        debian.packages("builds", debian.BUILDS),
        *languages_first,
        debian.packages("cluster", debian.CLUSTER),
        *golang.local_cluster(),
        golang.kwok(),
        *nodeimages.node_images(),
        debian.packages("images", debian.IMAGES),
        *golang.checks(),
        debian.packages("benchmarks", debian.BENCHMARKS),
    ]


def install_missing(things: Sequence[Thing], progress: Progress) -> list[str]:
    """Install what is missing, going on after a failure; return what could not be installed, a message each."""
    failures = []
    for thing in things:
        if thing.present():
            continue
        try:
            with progress.step(f"installing {thing.name}"):
                thing.install()
        except ToolError as error:
            progress.line(f"installing {thing.name} failed")
            failures.append(str(error))
    return failures


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tools.setup", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="only these groups (default: all)")
    parser.add_argument(
        "--check", action="store_true", help="install nothing; exit 1 when something is missing"
    )
    arguments = parser.parse_args(argv)
    things = [thing for thing in wanted() if not arguments.groups or thing.group in arguments.groups]
    if unknown := set(arguments.groups) - {thing.group for thing in wanted()}:
        parser.error(
            f"no group {', '.join(sorted(unknown))}; there are: {', '.join(dict.fromkeys(t.group for t in wanted()))}"
        )
    if arguments.check:
        lacking = [thing.name for thing in things if not thing.present()]
        print("\n".join(f"missing: {name}" for name in lacking) or "everything is there")
        return 1 if lacking else 0
    progress = Progress()
    with exclusive(paths.cache() / ".setup-lock", progress):
        failures = install_missing(things, progress)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
