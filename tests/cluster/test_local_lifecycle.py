"""The local provider for real: a cluster that works, survives violence, and leaves nothing behind.

What it leaves is looked for by what belongs to one cluster alone (its PID namespace, cgroup, link, folder), since
other clusters may come and go on the same machine.
"""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cluster.conftest import Up, on_local_provider, tool
from tools.cluster.kubectl import kubectl
from tools.cluster.local import cgroups
from tools.cluster.local.layout import Layout
from tools.cluster.local.provider import LocalProvider, Record
from tools.cluster.provider import Cluster
from tools.common import paths
from tools.common.process import ToolError, run
from tools.images import store

pytestmark = on_local_provider

WORKLOAD = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: worker}
spec:
  securityContext: {runAsNonRoot: true, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
  containers:
    - name: worker
      image: localhost/dspy-agent/sandbox-python:0.1.0
      imagePullPolicy: Never
      command: [sh, -c, "echo written > /data/file && cat /data/file && exec python3 -m http.server 8000 -d /data"]
      readinessProbe: {tcpSocket: {port: 8000}, periodSeconds: 1}
      securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: data, mountPath: /data}]
---
apiVersion: v1
kind: Pod
metadata: {name: glutton}
spec:
  restartPolicy: Never
  containers:
    - name: glutton
      image: localhost/dspy-agent/sandbox-python:0.1.0
      imagePullPolicy: Never
      command: [python3, -c, "b'x' * (256 << 20)"]
      resources: {limits: {memory: 32Mi}}
"""


@dataclasses.dataclass(frozen=True)
class Traces:
    """What one running cluster is recognised by on the host."""

    record: Record
    pid_namespace: str
    folder: Path

    @classmethod
    def of(cls, cluster: Cluster) -> Traces:
        record = Record.load(cluster.folder)
        assert record is not None
        return cls(record, os.readlink(f"/proc/{supervisor(record)}/ns/pid"), cluster.folder)

    @property
    def layout(self) -> Layout:
        return self.record.layout

    def left(self) -> list[str]:
        """Everything of the cluster that is still on the host."""
        found = [f"process {pid}" for pid in processes_in(self.pid_namespace)]
        found += [
            f"mount {line}"
            for line in Path("/proc/mounts").read_text().splitlines()
            if str(self.folder) in line
        ]
        found += [f"cgroup {path}" for path in cgroup_folders(self.layout)]
        if self.layout.mark in run(["ip", "link", "show"]):
            found.append(f"link {self.layout.link}")
        if self.layout.mark in run(["iptables-save"]):
            found.append("packet-filter rule")
        if self.folder.exists():
            found.append(f"folder {self.folder}")
        return found


def cgroup_folders(layout: Layout) -> list[Path]:
    return [path for each in cgroups.hierarchies() if (path := each / layout.cgroup).exists()]


def processes_in(pid_namespace: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "ns" / "pid") == pid_namespace:
                found.append(int(folder.name))
        except (
            FileNotFoundError,
            ProcessLookupError,
            PermissionError,
        ):  # ended while we looked, or never ours
            continue
    return found


def supervisor(record: Record) -> int:
    """The first process of the cluster's PID namespace, as the host numbers it."""
    parent = record.parent.pid
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text())


def wait_for_end(pid: int) -> None:
    """A process that is not our child: its pidfd becomes readable when it ends."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([pidfd], [], [], 30)[0], f"process {pid} did not end"
    finally:
        os.close(pidfd)


def wait_for_all(pid_namespace: str) -> None:
    """Until the namespace has no process; the kernel kills them all once its first is dead, and none may survive."""
    while remaining := processes_in(pid_namespace):
        for pid in remaining:
            wait_for_end(pid)


def test_a_cluster_runs_pods_and_leaves_nothing(up: Up) -> None:
    cluster = up("works")
    traces = Traces.of(cluster)
    assert traces.left()
    assert store.latest("sandbox-python").exists(), (
        "`python3 -m tools.images build sandbox-python` makes the image"
    )
    tool("load", "--name", "works", "sandbox-python")
    kubectl(cluster.kubeconfig, "apply", "-f", "-", stdin=WORKLOAD)
    kubectl(
        cluster.kubeconfig, "wait", "--for=condition=Ready", "--timeout=60s", "pod/worker", timeout_seconds=70
    )

    assert kubectl(cluster.kubeconfig, "logs", "worker").startswith("written")
    resolved = kubectl(cluster.kubeconfig, "exec", "worker", "--", "getent", "hosts", "kubernetes.default")
    assert str(traces.layout.api_service_address) in resolved
    assert kubectl(cluster.kubeconfig, "exec", "worker", "--", "id", "-u").strip() == "1000"
    assert forwarded_file(cluster) == "written\n"
    kubectl(cluster.kubeconfig, "wait", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s", "pod/glutton",
            timeout_seconds=70)  # fmt: skip
    reason = "{.status.containerStatuses[0].state.terminated.reason}"
    assert kubectl(cluster.kubeconfig, "get", "pod", "glutton", f"--output=jsonpath={reason}") == "OOMKilled"

    tool("down", "--name", "works")
    assert traces.left() == []
    tool("down", "--name", "works")  # once more is no error


def forwarded_file(cluster: Cluster) -> str:
    """Fetch the worker's file through `kubectl port-forward`, which tells its port on stdout."""
    command = [
        str(paths.tool("kubectl")),
        f"--kubeconfig={cluster.kubeconfig}",
        "port-forward",
        "pod/worker",
        ":8000",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        assert forward.stdout is not None
        port = forward.stdout.readline().split("->")[0].rpartition(":")[2].strip()
        fetched = run(
            ["curl", "--silent", "--noproxy", "*", f"http://127.0.0.1:{port}/file"], timeout_seconds=20
        )
        forward.terminate()
    return fetched


def test_a_killed_kubelet_is_started_again(up: Up) -> None:
    cluster = up("kubelet")
    (old,) = programs(cluster, "kubelet")
    kill_and_wait(old)
    run_pause(cluster)
    (new,) = programs(cluster, "kubelet")
    assert new != old


def run_pause(cluster: Cluster) -> None:
    """A pod that needs no more than the node itself: it gets ready, or the cluster does not work."""
    image = ["--image=localhost/dspy-agent/pause:3", "--image-pull-policy=Never"]
    kubectl(cluster.kubeconfig, "run", "pause", *image)
    kubectl(
        cluster.kubeconfig, "wait", "--for=condition=Ready", "--timeout=60s", "pod/pause", timeout_seconds=70
    )


def programs(cluster: Cluster, name: str) -> list[int]:
    return [
        pid
        for pid in processes_in(Traces.of(cluster).pid_namespace)
        if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/" + name.encode())
    ]


@pytest.mark.parametrize("victim", ["supervisor", "parent"])
def test_up_and_down_cope_with_a_killed_cluster(up: Up, victim: str) -> None:
    first = Traces.of(up("killed"))
    kill_and_wait(supervisor(first.record) if victim == "supervisor" else first.record.parent.pid)
    wait_for_all(first.pid_namespace)

    second = Traces.of(up("killed"))
    assert second.record.parent != first.record.parent
    kill_and_wait(supervisor(second.record))
    tool("down", "--name", "killed")
    assert second.left() == []


def kill_and_wait(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)


def test_a_dead_clusters_removal_leaves_the_next_in_its_slot_alone(up: Up) -> None:
    first = Traces.of(up("dead"))
    kill_and_wait(supervisor(first.record))
    wait_for_all(first.pid_namespace)
    alive = up("alive")
    second = Traces.of(alive)
    # The kernel frees the slot a little after the death, and other clusters may come and go: make sure that it is one.
    same_slot = dataclasses.replace(first.layout, slot=second.layout.slot)
    dataclasses.replace(first.record, layout=same_slot).save(first.folder)

    tool("down", "--name", "dead")
    assert LocalProvider().running(alive)
    run_pause(alive)
    tool("down", "--name", "alive")
    assert second.left() == []


def test_a_cgroup_in_use_is_told_and_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "REMOVAL_SECONDS", 0.1)
    layout = Layout("busy", 0, "in-use")
    cgroups.create(layout.cgroup)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        for folder in cgroup_folders(layout):
            (folder / "cgroup.procs").write_text(str(process.pid))
        with pytest.raises(ToolError, match=r"Processes still live.*cgroup\.procs"):
            cgroups.remove(layout.cgroup)
    cgroups.remove(layout.cgroup)
    assert cgroup_folders(layout) == []


def test_clusters_stand_side_by_side(up: Up) -> None:
    one, other = up("one"), up("other")
    traces = Traces.of(one)
    assert not traces.layout.network.overlaps(Traces.of(other).layout.network)
    tool("up", "--name", "one")  # is up: nothing happens
    assert Traces.of(one) == traces
    tool("down", "--name", "one")
    assert traces.left() == []
    assert LocalProvider().running(other)


def test_nat_is_removed_with_its_cluster(up: Up, tmp_path: Path) -> None:
    tool("up", "--name", "nat", "--provider", "local", "--nat")
    cluster = up("nat")  # is up already; registers it for removal
    traces = Traces.of(cluster)
    assert any("rule" in trace for trace in traces.left())
    tool("down", "--name", "nat")
    assert traces.left() == []
