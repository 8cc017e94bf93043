"""The base image for machines without a registry: Debian made by debootstrap, slimmed as the official image is."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.common import paths
from tools.common.process import run
from tools.common.progress import Progress

BASE = "docker.io/library/debian:bookworm-slim"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
SOURCES = f"""\
deb {MIRROR} {SUITE} main
deb {MIRROR} {SUITE}-updates main
deb {MIRROR}-security {SUITE}-security main
"""
# Where the official slim image leaves files out, now and in what apt installs later. Licences stay.
UNWANTED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/groff",
)
DPKG_EXCLUDES = (
    "".join(f"path-exclude /{folder}/*\n" for folder in UNWANTED)
    + "path-include /usr/share/doc/*/copyright\n"
)
EMPTIED = ("var/cache/apt", "var/lib/apt/lists", "var/log")


def root_archive(progress: Progress) -> Path:
    """The base's root file system as a tar archive, kept in the cache."""
    archive = paths.cache() / "build" / f"debian-{SUITE}-slim.tar"
    if archive.exists():
        return archive
    root = paths.cache() / "build" / "debian-root"
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    with progress.step("debootstrap makes the base image"):
        run(["debootstrap", "--variant=minbase", SUITE, root, MIRROR], timeout_seconds=1200)
    _slim(root)
    partial = archive.with_suffix(".partial")
    run(
        [
            "tar",
            "--create",
            "--file",
            partial,
            "--directory",
            root,
            "--numeric-owner",
            "--one-file-system",
            ".",
        ]
    )
    partial.rename(archive)
    shutil.rmtree(root)
    return archive


def _slim(root: Path) -> None:
    for folder in UNWANTED:
        for path in (root / folder).rglob("*"):
            if path.name != "copyright" and not path.is_dir():
                path.unlink()
    for folder in EMPTIED:
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    (root / "etc" / "apt" / "sources.list").write_text(SOURCES)
    (root / "etc" / "dpkg" / "dpkg.cfg.d" / "slim").write_text(DPKG_EXCLUDES)
    # apt's unpacked packages would otherwise stay in every layer that installs some.
    (root / "etc" / "apt" / "apt.conf.d" / "clean").write_text(
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };\nAcquire::Languages "none";\n'
    )
