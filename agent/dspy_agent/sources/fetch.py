"""From a session's `spec.workspace` to an archive."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dspy_agent.errors import StoreError, WorkspaceInvalid, WorkspaceUnreachable
from dspy_agent.sources.config_map import read_config_map
from dspy_agent.sources.git import GitSource, fetch_git
from dspy_agent.sources.pack import Packed, pack_members, repack

SHA256 = re.compile(r"^[0-9a-f]{64}$")


class Blobs(Protocol):
    """Content by its sha256. Raises StoreError."""

    def put(self, content: bytes) -> str: ...

    def get(self, digest: str) -> bytes: ...


@dataclass(frozen=True)
class Places:
    """Where the pod finds what a workspace names."""

    config_map: Path
    git_secret: Path
    blobs: Blobs | None
    git_timeout_seconds: float = 300.0


def fetch(workspace: Mapping[str, Any], places: Places) -> tuple[str, Packed]:
    """What it came from, in words, and the archive. Raises WorkspaceInvalid, WorkspaceUnreachable."""
    if git := workspace.get("git"):
        secret = places.git_secret if git.get("secretRef") else None
        source = GitSource(git["url"], git.get("ref"), secret)
        return f"git {source.url}", fetch_git(source, places.git_timeout_seconds)
    if workspace.get("configMapRef"):
        return f"ConfigMap {workspace['configMapRef']['name']}", read_config_map(places.config_map)
    if blob := workspace.get("blob"):
        return f"blob {blob['sha256']}", _blob(blob["sha256"], places.blobs)
    return "nothing", pack_members(())


def _blob(digest: str, blobs: Blobs | None) -> Packed:
    if not SHA256.match(digest):
        raise WorkspaceInvalid(f"workspace.blob.sha256 {digest!r} is not a sha256 in lower-case hex.")
    if blobs is None:
        raise WorkspaceUnreachable("There is no RedDB to fetch the workspace's blob from.")
    try:
        content = blobs.get(digest)
    except StoreError as error:
        raise WorkspaceUnreachable(f"The workspace's blob cannot be fetched: {error}") from error
    return repack(io.BytesIO(content))
