"""`dspy-agent workspace --into DIR`: a workspace in a folder, for EnvTask pods, which have no runner to send it to."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
from pathlib import Path

from dspy_agent.clients.reddb import BlobClient
from dspy_agent.core.outcome import Outcome
from dspy_agent.errors import SessionError, SettingsError, WorkspaceInvalid
from dspy_agent.sources.fetch import Places, fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="an empty folder")


def main(arguments: argparse.Namespace) -> int:
    """0, or 2 with the reason in the termination message. Raises SettingsError."""
    try:
        _materialise(arguments.into)
    except SessionError as error:
        if path := os.environ.get("DSPY_AGENT_TERMINATION_LOG"):
            Path(path).write_text(Outcome("Error", error.reason, str(error)).termination_message())
        print(f"dspy-agent: {error}", file=sys.stderr)
        return 2
    return 0


def _materialise(into: Path) -> None:
    source, packed = fetch(_workspace(), _places())
    into.mkdir(parents=True, exist_ok=True)
    # Every entry was checked while packing: none leaves the folder.
    try:
        # Level 2: what cannot be extracted is an error, which tarfile else passes over.
        with packed.archive, tarfile.open(fileobj=packed.archive, errorlevel=2) as tar:
            for info in tar:
                # As this user, who may differ from whoever the archive was made by.
                tar.extract(info, into, set_attrs=not info.issym(), numeric_owner=True)
    except (OSError, tarfile.TarError) as error:
        raise WorkspaceInvalid(f"The workspace from {source} cannot be unpacked: {error}.") from error
    print(f"workspace ready from {source}: {packed.files} files, {packed.bytes} bytes")


def _workspace() -> dict[str, object]:
    text = os.environ.get("DSPY_AGENT_WORKSPACE")
    if not text:
        raise SettingsError(
            "DSPY_AGENT_WORKSPACE is not set; give the workspace as JSON, as in spec.workspace."
        )
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"DSPY_AGENT_WORKSPACE is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise SettingsError("DSPY_AGENT_WORKSPACE is not a JSON object.")
    return value


def _places() -> Places:
    url, token = os.environ.get("DSPY_AGENT_REDDB_HTTP_URL"), os.environ.get("DSPY_AGENT_REDDB_TOKEN")
    return Places(
        config_map=Path(os.environ.get("DSPY_AGENT_WORKSPACE_SOURCE", "/dspy/workspace-source")),
        git_secret=Path(os.environ.get("DSPY_AGENT_GIT_SECRET_DIR", "/dspy/git-secret")),
        blobs=BlobClient(url, token) if url and token else None,
    )
