"""Configuration: flags and environment, checked once at start. A flag wins over its variable."""

from __future__ import annotations

import argparse
import dataclasses
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dspy_operator.errors import SettingsError

_PREFIX = "DSPY_OPERATOR_"
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def _setting(text: str, default: Any = dataclasses.MISSING) -> Any:
    metadata = {"help": text}
    if default is dataclasses.MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One field per flag `--name-with-dashes` and variable `DSPY_OPERATOR_NAME`; lists are comma-separated."""

    namespace: str = _setting("namespace that the operator runs in; its Lease lives there")
    agent_image: str = _setting("image of the agent core")
    env_runner_image: str = _setting("image that the env runner is copied from into users' containers")
    runner_image: str = _setting("image that commands run in where a template names none")
    reddb_url: str = _setting("RedDB as sessions reach it over RESP, redis://host:6380")
    reddb_http_url: str = _setting("RedDB as sessions reach it over HTTP, http://host:8082")
    reddb_token_file: Path = _setting(  # noqa: RUF009 - it makes a dataclass field
        "file with RedDB's master token; sessions get tokens derived from it"
    )
    image_pull_policy: str = _setting(
        "pull policy of every container: Always, IfNotPresent or Never", "IfNotPresent"
    )
    image_pull_secrets: tuple[str, ...] = _setting("names of pull secrets in the sessions' namespaces", ())
    watch_namespaces: tuple[str, ...] = _setting("namespaces to serve; none means all", ())
    listen: str = _setting("host:port of /healthz, /readyz and /metrics", "0.0.0.0:8081")
    log_level: str = _setting("DEBUG, INFO, WARNING or ERROR", "INFO")
    workers: int = _setting("how many objects are reconciled at once, 1 to 256", 16)
    lease_name: str = _setting("name of the Lease that elects the leading replica", "dspy-operator")
    lease_seconds: float = _setting(
        "how long a lease lasts without renewal; it is renewed three times as often", 30.0
    )
    retry_seconds: float = _setting(
        "delay before a task's first retry; it doubles with every further one", 10.0
    )
    retention_days: int = _setting(
        "how long RedDB keeps a session's events and patch after its last event, 1 to 3650", 90
    )
    trainer_image: str = _setting("image of trainers where a TrainingJob names none", "")
    orchestrator_url: str = _setting("the orchestrator, http://host:8080, for training on Slurm", "")
    orchestrator_token_file: Path = _setting(  # noqa: RUF009 - it makes a dataclass field
        "file with an admin's token of the orchestrator", Path()
    )
    training_poll_seconds: float = _setting("how often a running trainer's log is read", 5.0)
    slurm_give_up_seconds: float = _setting(
        "how long a deleted TrainingJob waits for its Slurm job to be cancelled", 300.0
    )
    identity: str = _setting(
        "this replica in the Lease; the pod's name, so that a restarted container leads on", ""
    )

    def __post_init__(self) -> None:
        _require(bool(self.reddb_token_file.name), "reddb_token_file", "must name a file")
        _require(
            self.reddb_token_file.is_file(),
            "reddb_token_file",
            f"{self.reddb_token_file} is not a readable file",
        )
        _require(
            self.image_pull_policy in _PULL_POLICIES, "image_pull_policy", f"must be one of {_PULL_POLICIES}"
        )
        _require(self.log_level in _LOG_LEVELS, "log_level", f"must be one of {_LOG_LEVELS}")
        _require(1 <= self.workers <= 256, "workers", "must lie between 1 and 256")
        _require(1 <= self.lease_seconds <= 3600, "lease_seconds", "must lie between 1 and 3600")
        _require(0 < self.retry_seconds <= 3600, "retry_seconds", "must lie above 0 and at most at 3600")
        _require(1 <= self.retention_days <= 3650, "retention_days", "must lie between 1 and 3650")
        _require(
            self.reddb_url.startswith(("redis://", "rediss://")), "reddb_url", "must begin with redis://"
        )
        _require(
            self.reddb_http_url.startswith(("http://", "https://")),
            "reddb_http_url",
            "must begin with http://",
        )
        _require(
            0 < self.training_poll_seconds <= 600,
            "training_poll_seconds",
            "must lie above 0 and at most at 600",
        )
        _require(self.slurm_give_up_seconds >= 0, "slurm_give_up_seconds", "must not be negative")
        _require(
            self.orchestrator_url == "" or self.orchestrator_url.startswith(("http://", "https://")),
            "orchestrator_url",
            "must begin with http://",
        )
        listen_address(self.listen)

    def reddb_token(self) -> bytes:
        """The master token. Read at every use: a rotated Secret counts from the next pod on."""
        return self.reddb_token_file.read_bytes().strip()


def listen_address(listen: str) -> tuple[str, int]:
    """`host:port` taken apart; a port of 0 lets the system choose."""
    host, _, port = listen.rpartition(":")
    _require(
        bool(host) and port.isdecimal() and int(port) <= 65535, "listen", "must be host:port, as 0.0.0.0:8081"
    )
    return host, int(port)


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Settings from flags and environment. Raises SettingsError with the name of the setting at fault."""
    flags = vars(_parser().parse_args(argv))
    values: dict[str, Any] = {}
    for spec in dataclasses.fields(Settings):
        text = flags[spec.name]
        if text is None:
            text = environ.get(_PREFIX + spec.name.upper())
        if text is not None:
            values[spec.name] = _parse(spec, text)
        _require(
            spec.name in values or spec.default is not dataclasses.MISSING,
            spec.name,
            f"is required: {spec.metadata['help']}",
        )
    values["identity"] = values.get("identity") or socket.gethostname()
    return Settings(**values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dspy-operator", description="Reconciles the dspyagent.io kinds.")
    for spec in dataclasses.fields(Settings):
        help_text = f"{spec.metadata['help']} [{_PREFIX}{spec.name.upper()}]"
        parser.add_argument(f"--{spec.name.replace('_', '-')}", default=None, help=help_text)
    return parser


def _parse(spec: dataclasses.Field[Any], text: str) -> Any:
    match spec.type:
        case "tuple[str, ...]":
            return tuple(part.strip() for part in text.split(",") if part.strip())
        case "Path":
            return Path(text)
        case "int" | "float":
            try:
                return int(text) if spec.type == "int" else float(text)
            except ValueError as error:
                raise SettingsError(_complaint(spec.name, f"{text!r} is not a number")) from error
        case _:
            return text


def _require(holds: bool, name: str, complaint: str) -> None:
    if not holds:
        raise SettingsError(_complaint(name, complaint))


def _complaint(name: str, complaint: str) -> str:
    return f"--{name.replace('_', '-')} ({_PREFIX}{name.upper()}) {complaint}"
