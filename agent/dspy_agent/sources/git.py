"""A git repository as a workspace: one commit, without history, hooks, submodules or questions asked."""

from __future__ import annotations

import base64
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dspy_agent.errors import WorkspaceUnreachable
from dspy_agent.sources.pack import Packed, pack_folder

SCHEMES = ("https", "http", "ssh", "git")
TIMEOUT_SECONDS = 300.0
SCP_FORM = re.compile(r"^[\w.-]+@[\w.-]+:[^:]+$")
REF = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/+@-]{0,254}$")
LAST_LINES = 3
# git's advice to people at a terminal comes after the words that say what went wrong.
ADVICE = re.compile(r"^(Please make sure you have the correct access rights|and the repository exists\.)?$")


@dataclass(frozen=True)
class GitSource:
    """`ref` is a branch, a tag or a commit; None is the default branch. `secret_dir` holds token or username and
    password, or ssh-privatekey (and known_hosts)."""

    url: str
    ref: str | None = None
    secret_dir: Path | None = None


def fetch_git(source: GitSource, timeout_seconds: float = TIMEOUT_SECONDS) -> Packed:
    """The commit's files as an archive. Raises WorkspaceUnreachable, and WorkspaceInvalid from packing."""
    _check(source)
    with tempfile.TemporaryDirectory(prefix="git-") as name:
        folder = Path(name)
        git = _Git(folder / "checkout", _environment(source, folder), time.monotonic() + timeout_seconds)
        git.run("init", "--quiet", "--template=", str(git.folder))
        commit = _fetch(git, source)
        git.run("checkout", "--quiet", "--force", "--detach", commit)
        return pack_folder(git.folder, lambda path: path.name == ".git")


def _fetch(git: _Git, source: GitSource) -> str:
    """The commit to check out. One commit if the server can; some (dumb HTTP, sha by name) need the whole history."""
    shallow = git.attempt(
        "fetch", "--quiet", "--no-tags", "--depth=1", "--", source.url, source.ref or "HEAD"
    )
    if shallow is None:
        return "FETCH_HEAD"
    refs = ("+HEAD:refs/workspace/HEAD", "+refs/heads/*:refs/workspace/*", "+refs/tags/*:refs/tags/*")
    if (problem := git.attempt("fetch", "--quiet", "--no-tags", "--", source.url, *refs)) is not None:
        raise WorkspaceUnreachable(f"{source.url} cannot be fetched: {problem}")
    ref = source.ref or "HEAD"
    for name in (f"refs/workspace/{ref}", f"refs/tags/{ref}", ref):
        if git.attempt("rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}") is None:
            return name
    raise WorkspaceUnreachable(
        f"{source.url} has no branch, tag or commit {ref}; set workspace.git.ref to one."
    )


def _check(source: GitSource) -> None:
    try:
        parts = urlsplit(source.url)
    except ValueError as error:
        raise WorkspaceUnreachable("workspace.git.url is no URL; see its host.") from error
    if parts.scheme not in SCHEMES and not SCP_FORM.match(source.url):
        raise WorkspaceUnreachable(
            f"workspace.git.url must be one of {', '.join(SCHEMES)}, or user@host:path."
        )
    # A token may stand where the user's name belongs; the URL is shown in events and messages.
    if parts.password or ("@" in parts.netloc and parts.scheme in {"http", "https"}):
        raise WorkspaceUnreachable(
            "workspace.git.url holds credentials; put them into a Secret and name it in secretRef."
        )
    if source.ref is not None and (not REF.match(source.ref) or ".." in source.ref):
        raise WorkspaceUnreachable(
            f"workspace.git.ref {source.ref!r} is not the name of a branch, tag or commit."
        )


class _Git:
    """Runs git in one folder until a deadline."""

    def __init__(self, folder: Path, environment: dict[str, str], deadline: float) -> None:
        self.folder = folder
        self._environment = environment
        self._deadline = deadline

    def run(self, *arguments: str) -> None:
        if (problem := self.attempt(*arguments)) is not None:
            raise WorkspaceUnreachable(f"git {arguments[0]} failed: {problem}")

    def attempt(self, *arguments: str) -> str | None:
        """None when git succeeded, else the end of what it said. Raises WorkspaceUnreachable at the deadline."""
        place = ["-C", str(self.folder)] if self.folder.exists() else []
        process = subprocess.Popen(
            ["git", *place, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            _, said = process.communicate(timeout=max(0.1, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise WorkspaceUnreachable(
                "git did not finish in time; is its host reachable from the cluster?"
            ) from error
        finally:
            if process.poll() is None:
                # Its helpers (git-remote-https, ssh) too.
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return None if process.returncode == 0 else _last_words(said)


def _last_words(said: str) -> str:
    lines = [line for line in said.splitlines() if not ADVICE.match(line)]
    return " ".join(lines[-LAST_LINES:]) or "no message"


def _environment(source: GitSource, folder: Path) -> dict[str, str]:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES),
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_COMMAND": _ssh_command(source, folder),
    }
    settings = {
        "core.hooksPath": os.devnull,
        "safe.directory": "*",
        "http.lowSpeedLimit": "1",
        "http.lowSpeedTime": "30",
    }
    if header := _authorization(source):
        parts = urlsplit(source.url)
        # For this host only, also after a redirect; and in the environment, where no process list shows it.
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = header
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def _authorization(source: GitSource) -> str | None:
    token, password = _secret(source, "token"), _secret(source, "password")
    if not (token or password) or urlsplit(source.url).scheme not in {"http", "https"}:
        return None
    user = _secret(source, "username") or "git"
    pair = base64.b64encode(f"{user}:{token or password}".encode()).decode()
    return f"Authorization: Basic {pair}"


def _ssh_command(source: GitSource, folder: Path) -> str:
    options = ["ssh", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
    if key := _secret(source, "ssh-privatekey"):
        # ssh refuses a key that others may read, which a Secret volume's file is.
        path = folder / "key"
        path.touch(mode=0o600)
        path.write_text(key + "\n")
        options += ["-i", str(path)]
    if hosts := _secret(source, "known_hosts"):
        (folder / "known_hosts").write_text(hosts + "\n")
        options += ["-o", "StrictHostKeyChecking=yes"]
    else:
        options += ["-o", "StrictHostKeyChecking=accept-new"]
    return shlex.join([*options, "-o", f"UserKnownHostsFile={folder / 'known_hosts'}"])


def _secret(source: GitSource, name: str) -> str | None:
    if source.secret_dir is None or not (source.secret_dir / name).is_file():
        return None
    return (source.secret_dir / name).read_text().strip()
