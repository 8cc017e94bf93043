"""RedDB beside Redis, both durable: `python benchmarks/reddb/run.py [--rounds 5] [--reddb dist/bin/reddb]`.

Both servers keep their data in one temporary directory on the same disk. Rounds interleave A B A B; the table gives the
median and the range of requests per second, and of the ratio within each round.
"""

import argparse
import csv
import io
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

TOKEN = "benchmark-" + "0" * 32
PAYLOAD = "x" * 128

# name: (requests, arguments of redis-benchmark)
LOADS = {
    "SET, 50 clients": (100_000, ["-t", "set"]),
    "SET, 50 clients, -P 16": (400_000, ["-t", "set", "-P", "16"]),
    "GET, 50 clients": (100_000, ["-t", "get"]),
    "XADD, 50 clients": (100_000, ["xadd", "log", "*", "event", PAYLOAD]),
    "XADD, 50 clients, -P 16": (300_000, ["-P", "16", "xadd", "log", "*", "event", PAYLOAD]),
}


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(argv: list[str], port: int) -> Iterator[None]:
    """Run a server until the block ends; raise RuntimeError if it does not listen within 10 s."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{argv[0]} does not listen on port {port}") from error
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def reddb(binary: str, directory: Path, port: int) -> list[str]:
    """Command line of a durable RedDB with its data in `directory`."""
    directory.mkdir()
    token_file = directory / "token"
    token_file.write_text(TOKEN)
    http = f"127.0.0.1:{free_port()}"
    files = ["--data-dir", str(directory / "data"), "--token-file", str(token_file)]
    return [binary, "serve", *files, "--http-listen", http, "--resp-listen", f"127.0.0.1:{port}"]


def redis(directory: Path, port: int) -> list[str]:
    """Command line of a Redis that fsyncs its log before it replies."""
    directory.mkdir()
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    place = [
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--dir",
        str(directory),
        "--logfile",
        str(directory / "log"),
    ]
    return ["redis-server", *durable, *place, "--requirepass", TOKEN]


def measure(port: int, requests: int, arguments: list[str]) -> float:
    """Requests per second that redis-benchmark reports."""
    common = [
        "-p",
        str(port),
        "-a",
        TOKEN,
        "-c",
        "50",
        "-d",
        str(len(PAYLOAD)),
        "-r",
        "100000",
        "-n",
        str(requests),
    ]
    command = ["redis-benchmark", *common, "--csv", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    rows = list(csv.DictReader(io.StringIO(output)))
    if len(rows) != 1:
        raise RuntimeError(f"redis-benchmark printed no result: {output!r}")
    return float(rows[0]["rps"])


def summary(numbers: list[float], form: str) -> str:
    """Median and range."""
    return f"{statistics.median(numbers):{form}} ({min(numbers):{form}} to {max(numbers):{form}})"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reddb", default=os.environ.get("REDDB_BIN", "dist/bin/reddb"))
    parser.add_argument(
        "--dir", default=None, help="where both keep their data (default: the temporary directory)"
    )
    options = parser.parse_args()
    # Ends like Ctrl-C when a runner's time limit strikes, so that no server is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    load_before = os.getloadavg()[0]
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in LOADS}
    with ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="reddb-bench-", dir=options.dir))
        stack.callback(shutil.rmtree, base)
        ours, theirs = free_port(), free_port()
        stack.enter_context(running(reddb(options.reddb, base / "reddb", ours), ours))
        stack.enter_context(running(redis(base / "redis", theirs), theirs))
        for _ in range(options.rounds):
            for name, (requests, arguments) in LOADS.items():
                pair = (measure(ours, requests, arguments), measure(theirs, requests, arguments))
                results[name].append(pair)
    version = subprocess.run(["redis-server", "--version"], check=True, capture_output=True, text=True).stdout
    print(f"RedDB (fsync) beside {version.split(' sha=')[0]} (appendfsync always), {options.rounds} rounds,")
    print(
        f"{os.cpu_count()} cores, load average {load_before:.1f} before and {os.getloadavg()[0]:.1f} after.\n"
    )
    print("| load | RedDB, requests/s | Redis, requests/s | ratio |\n|---|---|---|---|")
    for name, pairs in results.items():
        ratio = summary([a / b for a, b in pairs], ".2f")
        ours_rps, theirs_rps = (summary(list(side), ",.0f") for side in zip(*pairs, strict=True))
        print(f"| {name} | {ours_rps} | {theirs_rps} | {ratio} |")


if __name__ == "__main__":
    main()
