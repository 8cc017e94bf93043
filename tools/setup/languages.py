"""The Python environment of the repository, and Rust's target for static binaries."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tools.build import RUST_TARGET
from tools.common import paths
from tools.common.process import ToolError, run
from tools.setup.thing import Thing, key_of

UV_VERSION = "0.9.11"
VENV = paths.REPOSITORY / ".venv"
LOCK = paths.REPOSITORY / "requirements" / "dev.txt"
RAY_LOCK = paths.REPOSITORY / "requirements" / "ray.txt"


def uv() -> Thing:
    """uv from the PATH, else an environment of its own in the cache: Debian's pip installs nothing system-wide."""

    def install() -> None:
        home = paths.cache() / "uv"
        run([sys.executable, "-m", "venv", home])
        run([home / "bin" / "pip", "install", "--quiet", f"uv=={UV_VERSION}"])
        paths.tool("").mkdir(parents=True, exist_ok=True)
        paths.tool("uv").unlink(missing_ok=True)
        paths.tool("uv").symlink_to(home / "bin" / "uv")

    return Thing("uv", "python", lambda: uv_program() is not None, install)


def uv_program() -> str | None:
    built = paths.tool("uv")
    return str(built) if built.exists() else shutil.which("uv")


def environment() -> Thing:
    """.venv with every locked package and this repository's own, editable."""
    key_file = VENV / ".setup-key"
    key = key_of(str(paths.REPOSITORY), files=[LOCK, paths.REPOSITORY / "pyproject.toml"])

    def install() -> None:
        program = uv_program()
        if program is None:
            raise ToolError("uv is not installed: https://docs.astral.sh/uv has it.")
        inside = {**os.environ, "VIRTUAL_ENV": str(VENV)}
        run([program, "venv", "--quiet", "--allow-existing", "--python", ">=3.11,<3.13", VENV])
        install_packages = [program, "pip", "install", "--quiet"]
        # --no-deps: the lock file is complete, but for what it leaves out on purpose (requirements/excluded.txt).
        locked: list[str | Path] = ["--require-hashes", "--no-deps", "--requirement", LOCK]
        run([*install_packages, *locked], env=inside, timeout_seconds=1800)
        run([*install_packages, "--no-deps", "--editable", paths.REPOSITORY], env=inside, timeout_seconds=600)
        key_file.write_text(key)

    return Thing(
        "Python environment", "python", lambda: key_file.exists() and key_file.read_text() == key, install
    )


def ray() -> Thing:
    """A real Ray for the tests of training: some 300 MB, in an environment of its own in the cache."""
    home = paths.cache() / "ray"
    key_file = home / ".setup-key"
    key = key_of(files=[RAY_LOCK])

    def install() -> None:
        program = uv_program()
        if program is None:
            raise ToolError("uv is not installed: https://docs.astral.sh/uv has it.")
        run([program, "venv", "--quiet", "--clear", "--python", ">=3.11,<3.13", home])
        locked: list[str | Path] = ["--require-hashes", "--no-deps", "--requirement", RAY_LOCK]
        inside = {**os.environ, "VIRTUAL_ENV": str(home)}
        run([program, "pip", "install", "--quiet", *locked], env=inside, timeout_seconds=1800)
        key_file.write_text(key)

    return Thing("Ray", "checks", lambda: key_file.exists() and key_file.read_text() == key, install)


def rust_target() -> Thing:
    def install() -> None:
        if shutil.which("cargo") is None:
            raise ToolError("Rust is not installed: https://rustup.rs has it (1.88 or newer).")
        if shutil.which("rustup") is None:
            raise ToolError(f"This Rust has no target {RUST_TARGET} and no rustup to add it; install rustup.")
        run(["rustup", "target", "add", RUST_TARGET], timeout_seconds=600)

    return Thing(f"Rust target {RUST_TARGET}", "rust", _has_rust_target, install)


def _has_rust_target() -> bool:
    try:
        return Path(
            run(["rustc", "--print=target-libdir", f"--target={RUST_TARGET}"], timeout_seconds=30).strip()
        ).is_dir()
    except ToolError:
        return False
