"""The provider `local`: a single-node cluster in namespaces of its own."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.cluster import archive as image_archive
from tools.cluster.local import addons, certificates, cgroups, config, network
from tools.cluster.local.layout import CONTAINERD_SOCKET, Layout
from tools.cluster.provider import Cluster, Options, Verdict
from tools.common import paths
from tools.common.files import remove_tree
from tools.common.process import ProcessId, ToolError, run
from tools.common.progress import Progress

START_SECONDS = 90.0
KILL_SECONDS = 20.0
NAMESPACE_SECONDS = 10.0
PROGRAMS = ("containerd", "runc", "unshare", "nsenter", "ip", "nft", "iptables", "openssl", "conntrack")
BUILT = ("kube", "etcd", "provisioner", "pause", "coredns")
CNI = Path("/usr/lib/cni/ptp")
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class Record:
    """What is remembered of a running cluster, in its folder's `cluster.json`.

    Attributes:
        parent: the unshare process on the host, which ends when the cluster's last process has.
    """

    parent: ProcessId
    layout: Layout

    def save(self, folder: Path) -> None:
        text = json.dumps({"parent": asdict(self.parent), "layout": asdict(self.layout)})
        (folder / "cluster.json").write_text(text)

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        try:
            stored = json.loads((folder / "cluster.json").read_text())
        except FileNotFoundError:
            return None
        return cls(ProcessId(**stored["parent"]), Layout(**stored["layout"]))


class LocalProvider:
    """Kubernetes from the tool cache, containerd and runc from the system."""

    name = "local"

    def verdict(self) -> Verdict:
        if sys.platform != "linux" or os.geteuid() != 0:
            return Verdict(False, "needs Linux and root")
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        missing += [str(paths.tool(name)) for name in BUILT if not paths.tool(name).exists()]
        missing += [] if CNI.exists() else [str(CNI)]
        if missing:
            return Verdict(
                False,
                f"lacks {', '.join(missing)}; `python3 -m tools.setup kubernetes cluster` installs them",
            )
        return Verdict(True, "root on Linux, and every program is there")

    def up(self, cluster: Cluster, options: Options, progress: Progress) -> None:
        if self.running(cluster):
            progress.line(f"cluster {cluster.name} is already up")
            return
        self.down(cluster, progress)
        record = start(cluster, options, progress)
        wait_for_start(cluster, record, progress)
        addons.install(cluster, record.layout, options, lambda archive: self.load(cluster, archive), progress)
        _finished(cluster).touch()

    def down(self, cluster: Cluster, progress: Progress) -> None:
        record = Record.load(cluster.folder)
        if record is None:
            return
        progress.line(f"removing cluster {cluster.name}")
        kill(record.parent)
        network.disconnect(record.layout)
        network.remove_nat(record.layout)
        cgroups.remove(record.layout.cgroup)

    def running(self, cluster: Cluster) -> bool:
        record = Record.load(cluster.folder)
        if record is None or not record.parent.alive() or not _finished(cluster).exists():
            return False
        return addons.healthy(cluster)

    def load(self, cluster: Cluster, archive: Path) -> bool:
        record = Record.load(cluster.folder)
        if record is None or not record.parent.alive():
            raise ToolError(
                f"Cluster {cluster.name} is not running; start it with `python3 -m tools.cluster up`."
            )
        ctr = ["ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io", "images"]
        present = image_archive.parse_ctr_list(run([*entered(record), *ctr, "ls"]))
        if image_archive.is_loaded(image_archive.contents(archive), present):
            return False
        with archive.open("rb") as stream:
            run([*entered(record), *ctr, "import", "-"], stdin=stream)
        return True

    def logs(self, cluster: Cluster) -> Sequence[Path]:
        return sorted((cluster.folder / "logs").glob("*.log"))


def _finished(cluster: Cluster) -> Path:
    """Exists once `up` came to its end: an interrupted one is begun again."""
    return cluster.folder / "finished"


def start(cluster: Cluster, options: Options, progress: Progress) -> Record:
    """Start the supervisor in new namespaces, link them with the host, hand it its layout.

    Whatever goes wrong here closes the pipe, and the supervisor ends at its end of file.
    """
    _empty(cluster.folder)
    supervisor_end, our_end = os.pipe()
    with os.fdopen(our_end, "w") as handover:
        pid = _unshare(cluster.folder, supervisor_end)
        os.close(supervisor_end)
        _wait_for_namespaces(pid)
        layout = network.connect(cluster.name, pid)
        record = Record(ProcessId.of(pid), layout)
        record.save(cluster.folder)
        progress.line(f"namespaces made, node address {layout.node_address}")
        if options.nat:
            network.add_nat(layout)
        _prepare(cluster, layout, options)
        handover.write(json.dumps(asdict(layout)) + "\n")
    return record


def _prepare(cluster: Cluster, layout: Layout, options: Options) -> None:
    """Make what the supervisor's programs find when they start."""
    cgroups.remove(layout.slot_cgroups)  # of killed clusters that had this slot
    cgroups.create(layout.cgroup)
    pki = cluster.folder / "pki"
    certificates.make(pki, layout)
    config.write_all(cluster.folder / "config", pki, layout)
    config.write_private(cluster.kubeconfig, config.dump(config.kubeconfig(pki, "admin", layout.api_url)))
    (cluster.folder / "resolv.conf").write_text(addons.resolv_conf(options))


def _unshare(folder: Path, stdin: int) -> int:
    """Start the supervisor detached from this command's session, since the cluster outlives it; return its pid."""
    module = [sys.executable, "-m", "tools.cluster.local.supervisor"]
    with (folder / "logs" / "supervisor.log").open("w") as log:
        supervisor = subprocess.Popen(
            [*UNSHARE, *module, str(folder), str(paths.tool("").resolve())],
            cwd=paths.REPOSITORY,
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return supervisor.pid


def _wait_for_namespaces(pid: int) -> None:
    """Until `unshare` has unshared, its network namespace is the host's, and so would be the link's far end."""
    deadline = time.monotonic() + NAMESPACE_SECONDS
    while os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
        if time.monotonic() > deadline or not ProcessId.of(pid).alive():
            raise ToolError(
                "`unshare` made no namespaces; does this kernel, or a surrounding container, forbid them?"
            )
        time.sleep(0.005)


def _empty(folder: Path) -> None:
    remove_tree(folder)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "logs").mkdir()


def wait_for_start(cluster: Cluster, record: Record, progress: Progress) -> None:
    """Repeat the supervisor's words as they come, until the apiserver and containerd are ready.

    Raises:
        ToolError: the supervisor ended, or took longer than START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    waiting_for = {"kube-apiserver ready", "containerd ready"}
    with (cluster.folder / "logs" / "supervisor.log").open() as log:
        while waiting_for:
            line = log.readline().strip()
            if line:
                progress.line(line)
                waiting_for.discard(line)
            elif not record.parent.alive():
                raise ToolError(f"The cluster's supervisor ended; see {log.name}.")
            elif time.monotonic() > deadline:
                raise ToolError(
                    f"The cluster did not start in {START_SECONDS:.0f} s; see {cluster.folder}/logs."
                )
            else:
                time.sleep(0.05)


def entered(record: Record) -> list[str]:
    """The start of a command line that runs inside the cluster's namespaces."""
    return ["nsenter", f"--target={record.parent.pid}", "--mount", "--net"]


def kill(parent: ProcessId) -> None:
    """Kill every process of the cluster and wait until they are gone.

    The child of `unshare` is the first process of the PID namespace: its end is every member's end, and only
    after it does `unshare` itself end.
    """
    try:
        pinned = os.pidfd_open(parent.pid)
    except ProcessLookupError:
        return
    try:
        if not parent.alive():  # the number belongs to somebody else by now
            return
        for child in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        if not _ended_within(pinned, KILL_SECONDS):
            raise ToolError(
                f"Process {parent.pid} and what it supervises did not end within {KILL_SECONDS:.0f} s."
            )
    finally:
        os.close(pinned)


def _ended_within(pidfd: int, seconds: float) -> bool:
    """A pidfd becomes readable when its process ends."""
    return bool(select.select([pidfd], [], [], seconds)[0])
