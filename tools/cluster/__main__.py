"""Command line of the cluster tool; `python3 -m tools.cluster --help` lists the verbs."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence

from tools.cluster import fakenodes
from tools.cluster.existing import ExistingProvider
from tools.cluster.kind import KindProvider
from tools.cluster.local.provider import LocalProvider
from tools.cluster.provider import Cluster, Options, Provider, by_name, choose
from tools.common import paths
from tools.common.cli import exit_status
from tools.common.files import remove_tree
from tools.common.lock import exclusive
from tools.common.process import ToolError
from tools.common.progress import Progress
from tools.images.components import COMPONENTS
from tools.images.store import archives_of

Verb = Callable[[argparse.Namespace, Progress], None]
DEFAULT_NAME = "dev"
NAME_PATTERN = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def providers() -> list[Provider]:
    """In the order of preference: what the user set up by hand, then what is least intrusive."""
    return [ExistingProvider(dict(os.environ)), KindProvider(), LocalProvider()]


def cluster(name: str) -> Cluster:
    if not NAME_PATTERN.fullmatch(name):
        raise ToolError(f"{name!r} is no cluster name: up to 32 of a-z, 0-9 and inner hyphens.")
    return Cluster(name, paths.state() / name)


def all_names() -> list[str]:
    """The clusters that `up` made and `down` did not remove."""
    return sorted(marker.stem for marker in paths.state().glob("*.provider"))


def provider_of(target: Cluster) -> Provider:
    """The provider that `up` chose.

    Raises:
        ToolError: there is no such cluster.
    """
    marker = target.folder.with_suffix(".provider")
    if not marker.exists():
        there = ", ".join(f"{name} (--name {name})" for name in all_names()) or "none"
        raise ToolError(
            f"There is no cluster {target.name}; `python3 -m tools.cluster up` makes one. There is: {there}."
        )
    return by_name(providers(), marker.read_text().strip())


def locked(verb: Verb) -> Verb:
    """Let one command at a time change a cluster."""

    def run(arguments: argparse.Namespace, progress: Progress) -> None:
        with exclusive(paths.state() / f".{cluster(arguments.name).name}.lock", progress):
            verb(arguments, progress)

    return run


def up(arguments: argparse.Namespace, progress: Progress) -> None:
    target = cluster(arguments.name)
    marker = target.folder.with_suffix(".provider")
    if arguments.provider:
        provider = by_name(providers(), arguments.provider)
        verdict = provider.verdict()
        if not verdict.usable:
            raise ToolError(f"Provider {provider.name} cannot work here: {verdict.reason}.")
    elif marker.exists():
        provider = provider_of(target)
    else:
        provider = choose(providers(), progress)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(provider.name)
    provider.up(target, Options(nat=arguments.nat), progress)
    progress.line(f"cluster {target.name} is up ({provider.name})")
    print(target.kubeconfig)


def down(arguments: argparse.Namespace, progress: Progress) -> None:
    """Idempotent: a cluster that does not exist is what was asked for."""
    target = cluster(arguments.name)
    marker = target.folder.with_suffix(".provider")
    if marker.exists():
        provider_of(target).down(target, progress)
    remove_tree(target.folder)
    marker.unlink(missing_ok=True)
    progress.line(f"cluster {target.name} is gone")


def status(arguments: argparse.Namespace, _progress: Progress) -> None:
    rows = []
    for name in all_names():
        target = cluster(name)
        provider = provider_of(target)
        rows.append({
            "name": name,
            "provider": provider.name,
            "running": provider.running(target),
            "kubeconfig": str(target.kubeconfig),
        })  # fmt: skip
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(
            f"{row['name']:<20}{row['provider']:<10}{'running' if row['running'] else 'down':<10}{row['kubeconfig']}"
        )
    if not rows:
        print("no clusters")


def kubeconfig(arguments: argparse.Namespace, _progress: Progress) -> None:
    target = cluster(arguments.name)
    provider_of(target)
    print(target.kubeconfig)


def load(arguments: argparse.Namespace, progress: Progress) -> None:
    target = cluster(arguments.name)
    provider = provider_of(target)
    for archive in archives_of(arguments.images or [component.name for component in COMPONENTS]):
        loaded = provider.load(target, archive)
        progress.line(f"{archive.name}: {'loaded' if loaded else 'already there'}")


def fake_nodes(arguments: argparse.Namespace, progress: Progress) -> None:
    target = cluster(arguments.name)
    fakenodes.scale(target, provider_of(target), arguments.count, progress, arguments.pod_ip)


def logs(arguments: argparse.Namespace, _progress: Progress) -> None:
    target = cluster(arguments.name)
    files = provider_of(target).logs(target)
    if arguments.component is None:
        print("\n".join(str(file) for file in files))
        return
    chosen = [file for file in files if file.stem == arguments.component]
    if not chosen:
        raise ToolError(
            f"No log of {arguments.component!r}; there are: {', '.join(file.stem for file in files)}."
        )
    shutil.copyfileobj(chosen[0].open(errors="replace"), sys.stdout)


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python3 -m tools.cluster", description="A Kubernetes for whoever has none."
    )
    verbs = root.add_subparsers(dest="verb", required=True)
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=DEFAULT_NAME, help=f"the cluster's name (default: {DEFAULT_NAME})")

    verb = verbs.add_parser(
        "up", parents=[named], help="make the cluster unless it is up; prints its kubeconfig's path"
    )
    verb.add_argument("--provider", help="existing, kind or local, instead of the first that can work")
    verb.add_argument("--nat", action="store_true", help="local: let pods reach the network outside")
    verb.set_defaults(run=locked(up))
    verbs.add_parser("down", parents=[named], help="remove the cluster and all it made").set_defaults(
        run=locked(down)
    )
    verb = verbs.add_parser("status", help="list the clusters")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=status)
    verbs.add_parser("kubeconfig", parents=[named], help="print the kubeconfig's path").set_defaults(
        run=kubeconfig
    )
    verb = verbs.add_parser("load", parents=[named], help="load images that tools.images built")
    verb.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="component name, or path of a docker archive (default: all)",
    )
    verb.set_defaults(run=locked(load))
    verb = verbs.add_parser("fake-nodes", parents=[named], help="set the number of KWOK's fake nodes")
    verb.add_argument("count", type=int)
    verb.add_argument(
        "--pod-ip", help="one address for all pods on them: that of a stand-in for what runs in pods"
    )
    verb.set_defaults(run=locked(fake_nodes))
    verb = verbs.add_parser(
        "logs", parents=[named], help="list the logs of the cluster's programs, or print one"
    )
    verb.add_argument("component", nargs="?")
    verb.set_defaults(run=logs)
    return root


def main(argv: Sequence[str]) -> int:
    arguments = parser().parse_args(argv)
    return exit_status(lambda: arguments.run(arguments, Progress()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
