"""Command line of the image builder; `python3 -m tools.images --help` lists the verbs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tools.common import paths
from tools.common.cli import exit_status
from tools.common.lock import exclusive
from tools.common.progress import Progress
from tools.images import base, packages, store
from tools.images.builders import Builder, choose
from tools.images.components import Component, content_hash, lock_file, select, stage


def build(arguments: argparse.Namespace, progress: Progress) -> None:
    """Build what changed since it was last built."""
    with exclusive(store.folder() / ".lock", progress):
        build_changed(arguments.components, progress)


def build_changed(names: list[str], progress: Progress) -> None:
    builder: Builder | None = None
    for component in select(names):
        key = content_hash(component, base.BASE)
        archive = store.archive(component.name, key)
        if not archive.exists():
            builder = builder or choose(progress)
            with progress.step(f"building {component.name} with {builder.name}"):
                build_one(builder, component, key, progress)
        store.publish(component.name, archive)
        print(f"{component.tag}  {archive.stat().st_size / 1e6:.1f} MB  {archive}")


def build_one(builder: Builder, component: Component, key: str, progress: Progress) -> None:
    if component.from_debian:
        builder.prepare_base(progress)
    lock = lock_file(component)
    installed = packages.installed(lock) if lock else None
    context = paths.cache() / "build" / "context" / component.name
    stage(component, installed, context)
    with store.writing(component.name, key) as partial:
        builder.build(component, context, partial)


def lock(_arguments: argparse.Namespace, progress: Progress) -> None:
    with progress.step("resolving every requirement"):
        packages.write_locks()


def listing(_arguments: argparse.Namespace, _progress: Progress) -> None:
    for component in select([]):
        path = store.latest(component.name)
        print(f"{component.tag}  {path.resolve() if path.exists() else 'not built'}")


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python3 -m tools.images", description=__doc__)
    verbs = root.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("build", help="build the named images, or all, unless nothing changed")
    verb.add_argument("components", nargs="*", metavar="COMPONENT")
    verb.set_defaults(run=build)
    verbs.add_parser("list", help="list the images and their archives").set_defaults(run=listing)
    verbs.add_parser("lock", help="write requirements/*.txt again from the newest releases").set_defaults(
        run=lock
    )
    return root


def main(argv: Sequence[str]) -> int:
    arguments = parser().parse_args(argv)
    return exit_status(lambda: arguments.run(arguments, Progress()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
