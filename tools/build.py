"""Builds the three binaries into dist/bin: `python3 -m tools.build`.

Cargo and Go keep their own caches (outside the tree, see the Makefile), so a build with nothing to do takes a second.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.progress import stage

ROOT = Path(__file__).resolve().parent.parent
BINARIES = ROOT / "dist" / "bin"
RUST_TARGET = "x86_64-unknown-linux-musl"  # static: the runner is copied into images that have any libc or none


def main() -> int:
    BINARIES.mkdir(parents=True, exist_ok=True)
    try:
        with stage("build env-runner and reddb (Rust)"):
            build_rust()
        with stage("build orchestrator (Go)"):
            build_go()
    except subprocess.CalledProcessError as error:
        print(f"the build failed: {' '.join(error.cmd)} ended with {error.returncode}", file=sys.stderr)
        return 1
    return 0


def build_rust() -> None:
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--release", "--target", RUST_TARGET, "--bins"],
        cwd=ROOT,
        check=True,
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / RUST_TARGET / "release"
    for name in ("env-runner", "reddb"):
        install(target / name, BINARIES / name)


def build_go() -> None:
    subprocess.run(
        ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(BINARIES / "orchestrator"), "./cmd/orchestrator"],
        cwd=ROOT / "orchestrator-go",
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )


def install(built: Path, destination: Path) -> None:
    """Replace `destination` in one step: it may be running, and a running file cannot be written in place."""
    beside = destination.with_suffix(".new")
    shutil.copy2(built, beside)
    beside.replace(destination)


if __name__ == "__main__":
    sys.exit(main())
