"""An env runner of our own for the command line: started, spoken to over a unix socket, and gone at the end."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dspy_agent.clients.runner import RunnerClient
from dspy_agent.errors import RunnerLost, UsageError
from dspy_agent.local_secrets import passed_environment, secret_places

VARIABLE = "DSPY_ENV_RUNNER"
START_TIMEOUT_SECONDS = 10.0
STOP_TIMEOUT_SECONDS = 5.0
SOCKET_POLL_SECONDS = 0.01
CHECKOUT_DEPTH = 3


def find_runner() -> Path:
    """The env-runner binary: $DSPY_ENV_RUNNER, beside this program, in a checkout's dist/bin, on PATH."""
    if given := os.environ.get(VARIABLE):
        if os.access(given, os.X_OK):
            return Path(given)
        raise UsageError(f"{VARIABLE}={given} is not an executable file; point it at the env-runner binary.")
    checkout = Path(__file__).resolve().parents[CHECKOUT_DEPTH - 1]
    for candidate in (Path(sys.argv[0]).resolve().parent / "env-runner", checkout / "dist/bin/env-runner"):
        if os.access(candidate, os.X_OK):
            return candidate
    if found := shutil.which("env-runner"):
        return Path(found)
    raise UsageError(
        f"The env-runner binary was not found; build it (make build), or set {VARIABLE} to its path."
    )


@contextmanager
def local_runner() -> Iterator[RunnerClient]:
    """A runner with an empty workspace in a temporary folder; the process and the folder are gone afterwards."""
    binary = find_runner()
    with tempfile.TemporaryDirectory(prefix="dspy-agent-") as name:
        folder = Path(name)
        token = secrets.token_hex(32)
        process = _start(binary, folder, token)
        client = RunnerClient(f"unix:{folder}/runner.sock", token)
        try:
            _wait_ready(client, process, folder)
            yield client
        finally:
            client.close()
            _stop(process)


def _start(binary: Path, folder: Path, token: str) -> subprocess.Popen[bytes]:
    token_file = folder / "secret" / "token"
    token_file.parent.mkdir(mode=0o700)
    token_file.write_text(token)
    token_file.chmod(0o600)
    for part in ("workspace", "forks"):
        (folder / part).mkdir()
    argv = [
        str(binary),
        "serve",
        "--listen",
        f"unix:{folder}/runner.sock",
        "--token-file",
        str(token_file),
        "--workspace",
        str(folder / "workspace"),
        "--forks-dir",
        str(folder / "forks"),
    ]
    for place in secret_places(Path.home(), os.environ):
        argv += ["--hide", str(place)]
    with (folder / "runner.log").open("wb") as log:
        # Its own session: Ctrl-C reaches us alone, and we stop it in order.
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=passed_environment(os.environ),
        )


def _wait_ready(client: RunnerClient, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            # httpcore leaves its socket open when a connection fails: the first attempt waits for the runner's.
            if not (folder / "runner.sock").exists():
                time.sleep(SOCKET_POLL_SECONDS)
                raise RunnerLost("Its socket is not there yet.")
            client.wait_ready(timeout_seconds=0.05)
            return
        except RunnerLost as error:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / "runner.log").read_text(errors="replace")[-2000:]
                raise UsageError(f"The env runner {process.args!r} did not start: {log or error}") from error


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
