"""Builds the three binaries into dist/bin: `python3 -m tools.build`.

Cargo and Go keep their own caches (outside the tree, see the Makefile), so a build with nothing to do takes a second.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tools.common.cli import exit_status
from tools.common.paths import REPOSITORY
from tools.common.process import run
from tools.common.progress import Progress

BINARIES = REPOSITORY / "dist" / "bin"
RUST_TARGET = (
    "x86_64-unknown-linux-musl"  # static: the runner is copied into images that have any libc or none
)
LONGEST_BUILD_SECONDS = 1800


def main() -> int:
    return exit_status(lambda: build(Progress()))


def build(progress: Progress) -> None:
    BINARIES.mkdir(parents=True, exist_ok=True)
    with progress.step("building env-runner and reddb (Rust)"):
        build_rust()
    with progress.step("building orchestrator (Go)"):
        build_go()


def build_rust() -> None:
    run(
        ["cargo", "build", "--quiet", "--locked", "--release", "--target", RUST_TARGET, "--bins"],
        cwd=REPOSITORY,
        timeout_seconds=LONGEST_BUILD_SECONDS,
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / RUST_TARGET / "release"
    for name in ("env-runner", "reddb"):
        install(target / name, BINARIES / name)


def build_go() -> None:
    run(
        ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", BINARIES / "orchestrator", "./cmd/orchestrator"],
        cwd=REPOSITORY / "orchestrator-go",
        env={**os.environ, "CGO_ENABLED": "0"},
        timeout_seconds=LONGEST_BUILD_SECONDS,
    )


def install(built: Path, destination: Path) -> None:
    """Replace `destination` in one step: it may be running, and a running file cannot be written in place."""
    beside = destination.with_suffix(".new")
    shutil.copy2(built, beside)
    beside.replace(destination)


if __name__ == "__main__":
    sys.exit(main())
