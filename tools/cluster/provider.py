"""What a cluster provider is, and how one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools.common.process import ToolError
from tools.common.progress import Progress


@dataclass(frozen=True)
class Verdict:
    """Whether a provider can work here, and why, as the end of a sentence that begins with its name."""

    usable: bool
    reason: str


@dataclass(frozen=True)
class Cluster:
    """A cluster by name, and the folder in which its provider keeps what it must remember."""

    name: str
    folder: Path

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"


@dataclass(frozen=True)
class Options:
    """What a user may ask of `up`. A provider refuses what it cannot do."""

    nat: bool = False


class Provider(Protocol):
    """One way to have a cluster. Every method may be called again after a failure, and `down` at any time."""

    name: str

    def verdict(self) -> Verdict:
        """Say within a few seconds whether `up` has a chance, changing nothing."""

    def up(self, cluster: Cluster, options: Options, progress: Progress) -> None:
        """Leave a working cluster and `cluster.kubeconfig` behind. A healthy one is left as it is."""

    def down(self, cluster: Cluster, progress: Progress) -> None:
        """Remove the cluster and everything that was made for it, the folder excepted."""

    def running(self, cluster: Cluster) -> bool:
        """Whether the cluster exists and answers."""

    def load(self, cluster: Cluster, archive: Path) -> bool:
        """Load a docker archive's images into the node. False when the node already has them."""

    def logs(self, cluster: Cluster) -> Sequence[Path]:
        """Log files of the cluster's own programs, if it has any here."""


def choose(providers: Sequence[Provider], progress: Progress) -> Provider:
    """The first provider that can work here, telling which and why.

    Raises:
        ToolError: none can; the message gives each one's reason.
    """
    refused = []
    for provider in providers:
        verdict = provider.verdict()
        if verdict.usable:
            progress.line(f"provider {provider.name}: {verdict.reason}")
            return provider
        refused.append(f"  {provider.name}: {verdict.reason}")
    raise ToolError("No way to get a cluster here:\n" + "\n".join(refused))


def by_name(providers: Sequence[Provider], name: str) -> Provider:
    """Raises ToolError naming the alternatives."""
    for provider in providers:
        if provider.name == name:
            return provider
    raise ToolError(f"No provider {name!r}; there are: {', '.join(each.name for each in providers)}.")
