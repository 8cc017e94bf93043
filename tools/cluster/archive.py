"""Docker image archives: what is in one, and making one from a single static binary."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

# Image layers and configurations carry times; a fixed one makes the same input the same image.
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Image:
    """A tagged image. `identity` is the digest of its configuration, such as `sha256:ab..`."""

    tag: str
    identity: str


def contents(archive: Path) -> list[Image]:
    """The images of a docker archive (`docker save`, `buildah push docker-archive:`)."""
    with tarfile.open(archive) as tar:
        stream = tar.extractfile("manifest.json")
        if stream is None:
            raise ValueError(f"{archive}: manifest.json is not a file")
        manifest = json.load(stream)
    images = []
    for entry in manifest:
        identity = "sha256:" + Path(entry["Config"]).name.removesuffix(".json")
        images += [Image(tag, identity) for tag in entry.get("RepoTags") or []]
    return images


def parse_ctr_list(listing: str) -> dict[str, str]:
    """Image name to manifest digest, from `ctr images ls`. The kubelet's plugin also names images by identity."""
    rows = (line.split() for line in listing.splitlines()[1:])
    return {row[0]: row[2] for row in rows if len(row) > 2}


def is_loaded(images: list[Image], present: dict[str, str]) -> bool:
    """Whether every tag points at the very image of the archive, and not at an older build of the same name."""
    return all(image.tag in present and present[image.tag] == present.get(image.identity) for image in images)


def write_from_binary(archive: Path, tag: str, binary: Path, argv: list[str]) -> None:
    """Write an image that holds one static binary as `/<name>` and runs `argv`, with no user or file besides."""
    layer = _layer(binary)
    diff = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "created": EPOCH,
        "config": {"Entrypoint": argv, "User": "65534:65534", "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
        "history": [{"created": EPOCH, "created_by": "tools.cluster.archive"}],
    }).encode()  # fmt: skip
    identity = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{identity}.json", "RepoTags": [tag], "Layers": [f"{diff}/layer.tar"]}]
    partial = archive.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        _add(tar, f"{identity}.json", config)
        _add(tar, f"{diff}/layer.tar", layer)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    partial.replace(archive)


def _layer(binary: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, binary.name, binary.read_bytes(), mode=0o755)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))
