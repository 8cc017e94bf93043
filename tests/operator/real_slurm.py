"""A real Slurm of one node, a real RedDB and the real orchestrator in front of it, as processes of a test's own.

The configuration follows orchestrator-go's slurmtest: ports and folders of its own, no munge, no systemd.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from tests.charts.apiserver import free_ports

ROOT = Path(__file__).parents[2]
BIN = ROOT / "dist" / "bin"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
_WAIT_S = 30.0
_CONF = """ClusterName=trainingtest
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={slurmd}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=1
MessageTimeout=5
NodeName={node} NodeAddr=127.0.0.1 Port={slurmd} CPUs=8 RealMemory=1000 State=UNKNOWN
PartitionName=main Default=YES Nodes=ALL State=UP MaxTime=INFINITE
"""


def missing() -> list[str]:
    """What of it is not installed or built."""
    built = [name for name in ("reddb", "orchestrator") if not (BIN / name).exists()]
    return [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None] + built


class RealSlurm:
    """One node, jobs of this process's own user. `url`: the orchestrator; its admin's token lies in `token_file`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token_file = folder / "orchestrator-token"
        self.spool = folder / "spool"
        self._conf = folder / "slurm.conf"
        self._node = socket.gethostname().partition(".")[0]
        self._ports = free_ports(5)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.url = f"http://127.0.0.1:{self._ports[4]}"

    def start(self) -> None:
        for name in ("state", "slurmd", "spool", "reddb"):
            (self.folder / name).mkdir()
        self.token_file.write_text("test-token-of-an-admin")
        (self.folder / "token").write_text("test-token-of-the-store")
        user = pwd.getpwuid(os.getuid()).pw_name
        controller, slurmd = self._ports[:2]
        self._conf.write_text(
            _CONF.format(node=self._node, controller=controller, slurmd=slurmd, user=user, folder=self.folder)
        )
        self._spawn("slurmctld", "-D", "-f", str(self._conf))
        self._until("slurmctld answers", lambda: "is UP" in self.command("scontrol", "ping"))
        self._spawn("slurmd", "-D", "-N", self._node, "-f", str(self._conf))
        self._until("the node is idle", lambda: self.command("sinfo", "-h", "-o", "%T").strip() == "idle")
        self._start_orchestrator()

    def command(self, name: str, *arguments: str) -> str:
        """One of Slurm's commands; answers what it printed."""
        program = shutil.which(name, path=_PATH) or name
        done = subprocess.run(
            [program, *arguments], env=self._env(), capture_output=True, text=True, timeout=_WAIT_S
        )
        return done.stdout

    def stop(self) -> None:
        """Ends the jobs and the daemons."""
        self.command("scancel", "--full", "--signal=KILL", "--state=RUNNING")
        self.command("scancel", "--quiet", "--state=PENDING")
        with contextlib.suppress(AssertionError):
            self._until("the jobs are gone", lambda: not self.command("squeue", "-h").strip())
        for process in reversed(self._processes):
            process.send_signal(signal.SIGKILL)
            process.wait(_WAIT_S)

    def logs(self) -> str:
        """The end of what the processes wrote."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))

    def _start_orchestrator(self) -> None:
        resp, http, port = self._ports[2:]
        reddb = [str(BIN / "reddb"), "serve", "--data-dir", str(self.folder / "reddb")]
        listen = ["--resp-listen", f"127.0.0.1:{resp}", "--http-listen", f"127.0.0.1:{http}"]
        self._spawn(*reddb, *listen, "--token-file", str(self.folder / "token"))
        self._until("reddb listens", lambda: _listens(resp))
        self._spawn(
            *(str(BIN / "orchestrator"), "serve", "--listen", f"127.0.0.1:{port}"),
            *("--reddb", f"redis://127.0.0.1:{resp}", "--reddb-token-file", str(self.folder / "token")),
            *("--runners", "http://127.0.0.1:1", "--runner-token-file", str(self.folder / "token")),
            *("--token-file", str(self.token_file), "--slurm", "cli", "--slurm-conf", str(self._conf)),
            *("--slurm-spool", str(self.spool)),
        )
        self._until("the orchestrator answers", lambda: _listens(port) and self._accepts())

    def _accepts(self) -> bool:
        headers = {"Authorization": f"Bearer {self.token_file.read_text()}"}
        return httpx.get(f"{self.url}/v1/tasks", headers=headers, trust_env=False).is_success

    def _spawn(self, program: str, *arguments: str) -> None:
        found = program if program.startswith("/") else shutil.which(program, path=_PATH) or program
        with (self.folder / f"{Path(program).name}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [found, *arguments], env=self._env(), stdout=log, stderr=log, cwd=self.folder
                )
            )

    def _env(self) -> dict[str, str]:
        return {"PATH": _PATH, "SLURM_CONF": str(self._conf), "LC_ALL": "C", "HOME": str(self.folder)}

    def _until(self, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not done():
            assert time.monotonic() < deadline, f"waited in vain: {what}\n{self.logs()}"
            time.sleep(0.05)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def running(folder: Path) -> Iterator[RealSlurm]:
    """One that ends with the caller."""
    made = RealSlurm(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
