"""Python packages for the images, installed on the host by lock file: a build then needs no network of its own.

A proxy that inspects TLS thus concerns the host's configuration only.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from tools.common import paths
from tools.common.process import run

PYTHON = "3.11"
PLATFORM = "x86_64-manylinux_2_28"
IMAGE = [f"--python-version={PYTHON}", f"--python-platform={PLATFORM}"]
LOCKS = {
    "operator.txt": ["pyproject.toml", "--extra=operator", *IMAGE],
    "agent.txt": ["pyproject.toml", "--extra=llm", *IMAGE],
    "sandbox.txt": ["requirements/sandbox.in", *IMAGE],
    # A real Ray for the tests of training, in an environment of its own.
    "ray.txt": ["requirements/ray.in", "--universal", f"--python-version={PYTHON}"],
    # The developers' environment, which may be on any platform and any Python from 3.11 on.
    "dev.txt": ["pyproject.toml", "--all-extras", "--universal", f"--python-version={PYTHON}"],
}


def installed(lock: Path) -> Path:
    """A folder with the lock file's packages, made on first use and kept in the cache under the lock's hash."""
    key = hashlib.sha256(lock.read_bytes() + PYTHON.encode() + PLATFORM.encode()).hexdigest()[:16]
    folder = paths.cache() / "python" / f"{lock.stem}-{key}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        target: list[str | Path] = [
            "--target",
            partial,
            "--python-version",
            PYTHON,
            "--python-platform",
            PLATFORM,
        ]
        # --no-deps: the lock file is complete, but for what it leaves out on purpose.
        run(["uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:",
             "--link-mode=copy", *target, "--requirement", lock], timeout_seconds=1800)  # fmt: skip
        (partial / ".lock").unlink(missing_ok=True)
        shutil.rmtree(
            partial / "bin", ignore_errors=True
        )  # launchers with this machine's interpreter in them
        partial.rename(folder)
    return folder


def write_locks() -> None:
    """Resolve every requirement again and write the lock files."""
    for lock, sources in LOCKS.items():
        run(["uv", "pip", "compile", "--quiet", "--upgrade", "--generate-hashes", "--no-emit-index-url",
             "--no-emit-find-links", "--excludes=requirements/excluded.txt",
             "--custom-compile-command=python3 -m tools.images lock", *sources, f"--output-file=requirements/{lock}"],
            cwd=paths.REPOSITORY)  # fmt: skip
