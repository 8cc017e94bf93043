"""Lays out the workspace of an example: the release with the bug, from PyPI, and our regression test.

    python3 -m examples.prepare NAME --out DIR             a folder for `dspy-agent solve --repo DIR`
    python3 -m examples.prepare NAME --configmap NAMESPACE the manifest of the ConfigMap NAME-workspace, on stdout

Releases are pinned by version and sha256 in `bug.toml`, cached in `$DSPY_CACHE/pypi` and never committed.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

EXAMPLES = Path(__file__).resolve().parent
UNSOLVED = (
    EXAMPLES.parent / "benchmarks/repair/unsolved"
)  # examined bugs that policy.search does not repair yet
ARCHIVE_LIMIT_BYTES = 900 * 1024  # a ConfigMap holds 1 MiB, base64 aside
DROPPED_FOLDERS = ("docs", "doc", "tests", "test")
PIP = "pip==25.3"


class PrepareError(Exception):
    """An example that cannot be laid out; the message says what to do."""


@dataclass(frozen=True)
class Bug:
    """What `bug.toml` says: a wheel of the buggy release and one of the release that has the fix."""

    name: str
    package: str
    version: str
    wheel: str
    sha256: str
    fixed_version: str
    fixed_wheel: str
    fixed_sha256: str
    what_went_wrong: str

    @property
    def folder(self) -> Path:
        """Where the example lies."""
        return _folder(self.name)


def names() -> list[str]:
    """Every example, in alphabetical order."""
    return _names(EXAMPLES)


def all_names() -> list[str]:
    """The examples, then the bugs that are not solved yet."""
    return names() + _names(UNSOLVED)


def _names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/bug.toml"))


def _folder(name: str) -> Path:
    return (EXAMPLES if name in names() else UNSOLVED) / name


def load(name: str) -> Bug:
    """Read an example's description. Raises PrepareError for a name that is none."""
    if name not in all_names():
        raise PrepareError(f"There is no example {name!r}; choose one of: {', '.join(names())}.")
    return Bug(name=name, **tomllib.loads((_folder(name) / "bug.toml").read_text(encoding="utf-8")))


def workspace(bug: Bug, fixed: bool = False) -> dict[str, bytes]:
    """Path → content of the workspace; with `fixed` of the release in which the bug is gone."""
    wheel = fetch(bug, fixed)
    with zipfile.ZipFile(wheel) as archive:
        entries = [entry for entry in archive.namelist() if not entry.endswith("/")]
        kept = [entry for entry in entries if not PurePosixPath(entry).parts[0].endswith(".dist-info")]
        unsafe = [entry for entry in kept if entry.startswith("/") or ".." in PurePosixPath(entry).parts]
        if unsafe:
            raise PrepareError(f"{wheel.name} has entries outside its folder: {', '.join(unsafe[:3])}.")
        files = {entry: archive.read(entry) for entry in kept}
    files["test_regression.py"] = (bug.folder / "test_regression.py").read_bytes()
    return files


def fetch(bug: Bug, fixed: bool = False) -> Path:
    """The wheel, from the cache or from the package index. Raises PrepareError when its hash is another."""
    version, name, digest = (
        (bug.fixed_version, bug.fixed_wheel, bug.fixed_sha256)
        if fixed
        else (bug.version, bug.wheel, bug.sha256)
    )
    cache = Path(os.environ.get("DSPY_CACHE", Path.home() / ".cache/dspy-agent")) / "pypi"
    path = cache / name
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _download(f"{bug.package}=={version}", folder)
            if not (Path(folder) / name).is_file():
                raise PrepareError(f"pip fetched no {name} for {bug.package} {version}.")
            os.replace(Path(folder) / name, path)
    actual = sha256(path.read_bytes()).hexdigest()
    if actual != digest:
        raise PrepareError(
            f"{path} has sha256 {actual}, {bug.name} wants {digest}; delete the file and try again."
        )
    return path


def _download(requirement: str, folder: str) -> None:
    options = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder, requirement]
    result = subprocess.run([*_pip(), *options], capture_output=True, text=True, check=False)
    if result.returncode:
        raise PrepareError(f"pip cannot fetch {requirement}: {result.stderr.strip()[-500:]}")


def _pip() -> list[str]:
    """pip of this interpreter, of the system, or by uv (whose own environments have none)."""
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if path := shutil.which("pip3") or shutil.which("pip"):
        return [path]
    if shutil.which("uv"):
        return ["uv", "tool", "run", "--from", PIP, "pip"]
    raise PrepareError("Fetching an example needs pip or uv; install one of them.")


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the workspace into a new or empty folder."""
    if folder.exists() and any(folder.iterdir()):
        raise PrepareError(f"{folder} is not empty; name a new folder.")
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def archive(files: Mapping[str, bytes]) -> bytes:
    """A .tar.gz that is equal for equal files, without documentation and tests where it would be too large."""
    packed = _pack(files)
    if len(packed) > ARCHIVE_LIMIT_BYTES:
        lean = {path: content for path, content in files.items() if not _droppable(path)}
        packed = _pack(lean)
    if len(packed) > ARCHIVE_LIMIT_BYTES:
        raise PrepareError(
            f"The workspace has {len(packed)} bytes packed; a ConfigMap holds {ARCHIVE_LIMIT_BYTES}."
        )
    return packed


def _droppable(path: str) -> bool:
    return any(part in DROPPED_FOLDERS for part in PurePosixPath(path).parts[:-1])


def _pack(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for path in sorted(files):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(files[path]), 0o644
            tar.addfile(info, io.BytesIO(files[path]))
    return buffer.getvalue()


def config_map(bug: Bug, namespace: str) -> str:
    """The manifest that `session.yaml` refers to."""
    data = base64.b64encode(archive(workspace(bug))).decode()
    return (
        "apiVersion: v1\nkind: ConfigMap\n"
        f"metadata:\n  name: {bug.name}-workspace\n  namespace: {namespace}\n"
        f"binaryData:\n  workspace.tar.gz: {data}\n"
    )


def main() -> None:
    """Parse the command line; exit 2 with a sentence when the example cannot be laid out."""
    parser = argparse.ArgumentParser(prog="python3 -m examples.prepare", description=__doc__.split("\n")[0])
    parser.add_argument("name", help=", ".join(names()))
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="DIR", help="write the workspace into this new folder")
    target.add_argument("--configmap", metavar="NAMESPACE", help="print the ConfigMap's manifest")
    arguments = parser.parse_args()
    try:
        bug = load(arguments.name)
        if arguments.out:
            write(workspace(bug), arguments.out)
        else:
            sys.stdout.write(config_map(bug, arguments.configmap))
    except PrepareError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
