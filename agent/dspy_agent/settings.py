"""Settings of the agent container, from flags and environment (a flag wins), checked before anything starts.

Every setting is a flag `--reddb-url` and a variable DSPY_AGENT_REDDB_URL.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dspy_agent.errors import SettingsError

PREFIX = "DSPY_AGENT_"
LONGEST_RETENTION_DAYS = 3650
SHA256 = re.compile(r"^[0-9a-f]{64}$")
# name, default (None: must be given), meaning
Setting = tuple[str, str | None, str]
_POD: tuple[Setting, ...] = (
    ("runner-url", "http://127.0.0.1:8080", "the env runner: http://host:port or unix:/path"),
    ("runner-token-file", "/dspy/token/token", "file with the runner's bearer token"),
    ("reddb-url", None, "RedDB's RESP address: redis://host:port"),
    ("reddb-http-url", None, "RedDB's HTTP address: http://host:port"),
    ("listen", "0.0.0.0:9000", "where the session's HTTP interface listens: host:port"),
    ("termination-log", "/dev/termination-log", "file for the outcome, read by the kubelet"),
    ("runner-wait-seconds", "60", "how long to wait for the runner to start"),
    ("store-retry-seconds", "120", "how long to wait for RedDB to come back"),
    ("retention-days", "90", "how long RedDB keeps events and patch after the last event, 1 to 3650"),
    ("git-timeout-seconds", "300", "how long a git fetch may take"),
)
SESSION: tuple[Setting, ...] = (
    ("session", None, "the AgentSession as JSON: metadata and spec"),
    ("workspace-source", "/dspy/workspace-source", "where the workspace's ConfigMap is mounted"),
    ("git-secret-dir", "/dspy/git-secret", "where the git Secret is mounted"),
    *_POD,
)
WARM: tuple[Setting, ...] = (
    ("bind-token-sha256", None, "SHA-256 in hex of the token that may bind a session"),
    (
        "bound-dir",
        "/dspy/bound",
        "folder in memory, this agent's alone, where the session that it took is kept",
    ),
    *_POD,
)
# Secrets come from the environment alone: flags are visible in process lists.
REDDB_TOKEN = PREFIX + "REDDB_TOKEN"
LLM_API_KEY = PREFIX + "LLM_API_KEY"


@dataclass(frozen=True)
class Settings:
    """What `dspy-agent session` runs with."""

    session: str
    runner_url: str
    runner_token: str
    reddb_url: str
    reddb_http_url: str
    reddb_token: str
    llm_api_key: str | None
    host: str
    port: int
    termination_log: Path
    workspace_source: Path
    git_secret_dir: Path
    runner_wait_seconds: float
    store_retry_seconds: float
    retention_days: int
    git_timeout_seconds: float
    # What the runner is told; None where its container has it.
    runner_variables: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True)
class WarmSettings:
    """What `dspy-agent warm` runs with; in `unbound`, what belongs to a session is empty."""

    unbound: Settings
    bind_token_sha256: str
    bound_dir: Path


def add_flags(parser: argparse.ArgumentParser, settings: tuple[Setting, ...] = SESSION) -> None:
    """A flag per setting; without it the environment variable counts."""
    for name, default, meaning in settings:
        parser.add_argument(
            f"--{name}", help=f"{meaning} ({variable(name)}; default {default or 'none, required'})"
        )


def load(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings. Raises SettingsError with a message that names the one that is wrong."""
    values = _values(SESSION, arguments, environment)
    return _settings(values, _secret(environment, REDDB_TOKEN), environment.get(LLM_API_KEY))


def load_warm(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> WarmSettings:
    """The settings of an agent without a session. Raises SettingsError."""
    values = _values(WARM, arguments, environment)
    digest, folder = values["bind-token-sha256"], Path(values["bound-dir"])
    if not SHA256.match(digest):
        raise SettingsError(f"{variable('bind-token-sha256')} must be a SHA-256 in lower-case hex.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(
            f"{variable('bound-dir')}={str(folder)!r} must be a folder that can be written to."
        )
    places = {name: str(folder / name) for name in ("workspace-source", "git-secret-dir")}
    return WarmSettings(_settings({"session": "", **places, **values}, "", None), digest, folder)


def _values(
    settings: tuple[Setting, ...], arguments: argparse.Namespace, environment: Mapping[str, str]
) -> dict[str, str]:
    return {name: _value(arguments, environment, name, default) for name, default, _ in settings}


def _settings(values: Mapping[str, str], reddb_token: str, llm_api_key: str | None) -> Settings:
    host, port = _address("listen", values["listen"])
    return Settings(
        session=values["session"],
        runner_url=_url("runner-url", values["runner-url"], ("http", "unix")),
        runner_token=_token_file(values["runner-token-file"]),
        reddb_url=_url("reddb-url", values["reddb-url"], ("redis", "rediss")),
        reddb_http_url=_url("reddb-http-url", values["reddb-http-url"], ("http", "https")),
        reddb_token=reddb_token,
        llm_api_key=llm_api_key,
        host=host,
        port=port,
        termination_log=Path(values["termination-log"]),
        workspace_source=Path(values["workspace-source"]),
        git_secret_dir=Path(values["git-secret-dir"]),
        runner_wait_seconds=_seconds("runner-wait-seconds", values["runner-wait-seconds"]),
        store_retry_seconds=_seconds("store-retry-seconds", values["store-retry-seconds"]),
        retention_days=_days("retention-days", values["retention-days"]),
        git_timeout_seconds=_seconds("git-timeout-seconds", values["git-timeout-seconds"]),
    )


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper().replace("-", "_")


def _value(
    arguments: argparse.Namespace, environment: Mapping[str, str], name: str, default: str | None
) -> str:
    value: str | None = (
        getattr(arguments, name.replace("-", "_"), None) or environment.get(variable(name)) or default
    )
    if value is None:
        raise SettingsError(f"{variable(name)} (or --{name}) is not set.")
    return value


def _token_file(path: str) -> str:
    try:
        token = Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"{variable('runner-token-file')}: {path} cannot be read: {error.strerror}."
        ) from error
    if not token:
        raise SettingsError(f"{variable('runner-token-file')}: {path} is empty.")
    return token


def _secret(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise SettingsError(f"{name} is not set.")
    return environment[name]


def _url(name: str, value: str, schemes: tuple[str, ...]) -> str:
    if value.split(":", 1)[0] not in schemes:
        raise SettingsError(f"{variable(name)}={value!r} must begin with one of: {', '.join(schemes)}.")
    return value


def _address(name: str, value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"{variable(name)}={value!r} must be host:port.")
    return host.strip("[]"), int(port)


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError as error:
        raise SettingsError(f"{variable(name)}={value!r} must be a number of seconds.") from error
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"{variable(name)}={value!r} must be above 0.")
    return seconds


def _days(name: str, value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= LONGEST_RETENTION_DAYS:
        raise SettingsError(
            f"{variable(name)}={value!r} must be a whole number from 1 to {LONGEST_RETENTION_DAYS}."
        )
    return int(value)
