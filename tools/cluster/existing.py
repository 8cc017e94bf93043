"""The provider `existing`: the cluster that KUBECONFIG names. It is used and never changed as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.cluster.kubectl import kubectl
from tools.cluster.provider import Cluster, Options, Verdict
from tools.common.process import ToolError
from tools.common.progress import Progress


class ExistingProvider:
    """Whatever the user's own kubeconfig points at."""

    name = "existing"

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._kubeconfig = environment.get("KUBECONFIG", "")

    def verdict(self) -> Verdict:
        if not self._kubeconfig:
            return Verdict(False, "KUBECONFIG is not set")
        if not Path(self._kubeconfig).is_file():
            return Verdict(False, f"KUBECONFIG names {self._kubeconfig}, which is no file")
        return Verdict(True, f"KUBECONFIG names {self._kubeconfig}")

    def up(self, cluster: Cluster, options: Options, progress: Progress) -> None:
        if options.nat:
            raise ToolError("--nat is for the provider local; this cluster's network is its own affair.")
        cluster.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        cluster.kubeconfig.touch(mode=0o600)
        shutil.copyfile(self._kubeconfig, cluster.kubeconfig)
        progress.line("asking the cluster for its version")
        kubectl(cluster.kubeconfig, "version", "--request-timeout=10s")

    def down(self, cluster: Cluster, progress: Progress) -> None:  # noqa: ARG002 - the protocol's
        progress.line("the cluster is yours and stays; only the copy of its kubeconfig goes")

    def running(self, cluster: Cluster) -> bool:
        try:
            kubectl(cluster.kubeconfig, "version", "--request-timeout=5s")
        except ToolError:
            return False
        return True

    def load(self, cluster: Cluster, archive: Path) -> bool:  # noqa: ARG002 - the protocol's
        raise ToolError(
            f"Images cannot be put into a cluster that this tool did not make. Push {archive} to a registry that "
            "the cluster reads, and set the chart's image values to it."
        )

    def logs(self, cluster: Cluster) -> Sequence[Path]:  # noqa: ARG002 - the protocol's
        return ()
