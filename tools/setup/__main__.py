"""Command line of the setup: installs what is missing, group by group, and says what it does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tools.common import docker, paths
from tools.common.lock import exclusive
from tools.common.process import ToolError
from tools.common.progress import Progress
from tools.setup import debian, golang, languages, nodeimages
from tools.setup.thing import Thing


def everything() -> list[Thing]:
    """All that any machine may need, in the order in which it can be installed."""
    return [
        debian.packages("builds", debian.BUILDS),
        languages.uv(),
        languages.environment(),
        languages.rust_target(),
        *golang.kubernetes(),
        debian.packages("cluster", debian.CLUSTER),
        *golang.local_cluster(),
        *nodeimages.node_images(),
        debian.packages("images", debian.IMAGES),
        golang.kind(),
        *golang.checks(),
        debian.packages("checks", debian.CHECKS),
        languages.ray(),
        debian.packages("benchmarks", debian.BENCHMARKS),
    ]


def groups() -> list[str]:
    return list(dict.fromkeys(thing.group for thing in everything()))


def chosen(asked: Sequence[str], without: Sequence[str]) -> list[Thing]:
    """What to install: the groups asked for, else all that this machine has a use for.

    With a Docker engine, images are built by it and clusters made by kind; the rest can still be asked for.
    """
    unneeded = {"cluster", "images"} if docker.engine_answers() else {"kind"}
    wanted = set(asked or groups()) - set(without) - (set() if asked else unneeded)
    return [thing for thing in everything() if thing.group in wanted]


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
    known = groups()
    parser.add_argument(
        "groups",
        nargs="*",
        metavar="GROUP",
        help=f"only these (default: what this machine needs of {', '.join(known)})",
    )
    parser.add_argument(
        "--without", action="append", default=[], choices=known, metavar="GROUP", help="leave this group out"
    )
    parser.add_argument(
        "--check", action="store_true", help="install nothing; exit 1 when something is missing"
    )
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.groups) - set(known):
        parser.error(f"no group {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    things = chosen(arguments.groups, arguments.without)
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
