"""Start of RedDB beside Redis after kill -9: `python -m benchmarks.reddb.restart [--tasks 1000000]`.

Each gets what the orchestrator leaves of so many tasks: a record and an outcome that expire, an entry of a log that a
group reads, and the places of what was under way, which come and go. Both are killed right after the last reply. The
table gives the seconds from exec until the first reply to each command, with the files in the page cache or, with
--cold, on the disk only, and the largest memory until then.
"""

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.reddb.run import TOKEN, free_port, reddb, redis

BATCH = 500
RECORD = b"r" * 500
OUTCOME = b"o" * 450
META = b'{"c":"command","t":"tenant-00","k":"00000000","m":4,"a":3,"o":1048576}'
TTL_MS = b"86400000"
FIRST_MS = 1_790_000_000_000


def command(*args: bytes) -> bytes:
    """RESP of one command."""
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)


def task_id(number: int) -> bytes:
    """A UUID of version 5, as of a task with an idempotency key: its place among the keys is anywhere."""
    spread = number * 0x9E3779B97F4A7C15 % (1 << 64)
    digits = f"{spread:016x}{spread * 31 % (1 << 64):016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}".encode()


class Connection:
    """A client that sends many commands at once and waits for the last reply."""

    def __init__(self, port: int) -> None:
        """Connect and authenticate; raises OSError where nobody listens."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=300)
        self.run(command(b"AUTH", TOKEN.encode()))

    def run(self, commands: bytes) -> bytes:
        """Replies to `commands`; raises OSError when the connection breaks."""
        end = b"$5\r\n-end-\r\n"
        self.socket.sendall(commands + command(b"ECHO", b"-end-"))
        replies = bytearray()
        while not replies.endswith(end):
            chunk = self.socket.recv(1 << 20)
            if not chunk:
                raise ConnectionResetError
            replies += chunk
        return bytes(replies[: -len(end)])


def lives(first: int) -> Iterator[bytes]:
    """What becomes of BATCH tasks: enqueued, read, begun, ended."""
    ids = [task_id(number) for number in range(first, first + BATCH)]
    entries = [
        b"%d-%d" % (FIRST_MS + number // 50, number % 50 + 1) for number in range(first, first + BATCH)
    ]
    multi, execute = command(b"MULTI"), command(b"EXEC")
    yield (
        multi
        + b"".join(
            command(b"SET", b"orchestrator/task/" + task, RECORD, b"NX")
            + command(
                b"XADD",
                b"orchestrator/log",
                entry,
                b"id",
                task,
                b"generation",
                b"ABCDEFGH",
                b"bytes",
                b"500",
                b"meta",
                META,
            )
            for task, entry in zip(ids, entries, strict=True)
        )
        + execute
    )
    yield command(
        b"XREADGROUP",
        b"GROUP",
        b"workers",
        b"one",
        b"COUNT",
        b"%d" % BATCH,
        b"STREAMS",
        b"orchestrator/log",
        b">",
    )
    yield multi + b"".join(command(b"SET", b"orchestrator/run/" + task, b"s" * 100) for task in ids) + execute
    yield (
        multi
        + b"".join(
            command(b"SET", b"orchestrator/end/" + task, OUTCOME, b"PX", TTL_MS)
            + command(b"PEXPIRE", b"orchestrator/task/" + task, TTL_MS)
            for task in ids
        )
        + command(b"DEL", *(b"orchestrator/run/" + task for task in ids))
        + command(b"XACK", b"orchestrator/log", b"workers", *entries)
        + execute
    )


def start(argv: list[str], port: int) -> subprocess.Popen[bytes]:
    """A server that has begun to listen."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    while True:
        try:
            Connection(port).socket.close()
            return process
        except OSError:
            if process.poll() is not None:
                raise
            time.sleep(0.01)


def fill(argv: list[str], port: int, tasks: int) -> None:
    """Write, and kill the server in the middle of it."""
    process = start(argv, port)
    client = Connection(port)
    client.run(command(b"XGROUP", b"CREATE", b"orchestrator/log", b"workers", b"0", b"MKSTREAM"))
    began = time.monotonic()
    for first in range(0, tasks, BATCH):
        for commands in lives(first):
            replies = client.run(commands)
            if replies.startswith(b"-"):
                raise RuntimeError(replies[:200])
    print(f"<!-- {argv[0]}: filled in {time.monotonic() - began:.0f} s -->", flush=True)
    process.send_signal(signal.SIGKILL)
    process.wait()


def first_answers(argv: list[str], port: int, tasks: int) -> dict[str, float]:
    """Seconds until the first reply to each command, and peak memory in MiB. The server is killed again."""
    last = tasks - 1
    questions = {
        "PING": (command(b"PING"), b"+PONG"),
        "GET": (command(b"GET", b"orchestrator/end/" + task_id(last)), b"$%d\r\n" % len(OUTCOME)),
        "SET": (command(b"SET", b"orchestrator/epoch", b"1"), b"+OK"),
        "XADD": (command(b"XADD", b"orchestrator/log", b"*", b"id", b"none"), b"$"),
        "XREADGROUP": (
            command(
                b"XREADGROUP",
                b"GROUP",
                b"workers",
                b"one",
                b"COUNT",
                b"1",
                b"STREAMS",
                b"orchestrator/log",
                b">",
            ),
            b"*1",
        ),
    }
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    client = None
    while client is None:
        try:
            client = Connection(port)
            while client.run(command(b"PING")).startswith(b"-LOADING"):
                time.sleep(0.002)
        except OSError:
            time.sleep(0.002)
    figures = {}
    for name, (text, beginning) in questions.items():
        replies = client.run(text)
        if not replies.startswith(beginning):
            raise RuntimeError(f"{name}: {replies[:100]!r}")
        figures[name] = time.monotonic() - began
    status = Path(f"/proc/{process.pid}/status").read_text()
    figures["MiB"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    process.kill()
    process.wait()
    return figures


def forget_pages() -> None:
    """Make the kernel read files from the disk again (Linux, root)."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000, help=f"a multiple of {BATCH}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="also with nothing of the files in memory (root)")
    parser.add_argument("--reddb", default=os.environ.get("REDDB_BIN", "dist/bin/reddb"))
    parser.add_argument(
        "--dir", default=None, help="where both keep their data (default: the temporary directory)"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = ["PING", "GET", "SET", "XADD", "XREADGROUP", "MiB"]
    print(f"| {2 * options.tasks:,} keys | " + " | ".join(names) + " |\n" + "|---" * (1 + len(names)) + "|")
    with ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="reddb-bench-", dir=options.dir))
        stack.callback(shutil.rmtree, base)
        port = free_port()
        servers: list[tuple[str, Path, Callable[[Path, int], list[str]]]] = [
            ("RedDB (fsync)", base / "reddb", partial(reddb, options.reddb)),
            ("Redis (appendfsync always)", base / "redis", redis),
        ]
        for name, directory, make in servers:
            argv = make(directory, port)
            fill(argv, port, options.tasks)
            kept = base / "kept"
            directory.rename(kept)
            for cold in [False, True] if options.cold else [False]:
                rounds = []
                for _ in range(options.rounds):
                    shutil.rmtree(directory, ignore_errors=True)
                    shutil.copytree(kept, directory)
                    if cold:
                        forget_pages()
                    rounds.append(first_answers(argv, port, options.tasks))
                cells = (f"{statistics.median(figures[cell] for figures in rounds):.2f}" for cell in names)
                print(f"| {name}{', cold' * cold} | " + " | ".join(cells) + " |", flush=True)
            shutil.rmtree(kept)
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
