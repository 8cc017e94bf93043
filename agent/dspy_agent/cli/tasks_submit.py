"""`dspy-agent tasks submit`: a command line becomes the JSON of a task."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dspy_agent.errors import UsageError

DURATION = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?$")
UNIT_MS = {"ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3, "d": 86400e3}
SLURM_NUMBERS = ("nodes", "tasks_per_node", "cpus_per_task", "memory_mb", "time_limit_minutes")
SLURM_TEXTS = ("account", "partition", "qos", "constraint", "reservation", "gres", "array")


def add_arguments(parser: argparse.ArgumentParser, classes: Sequence[str]) -> None:
    parser.add_argument("argv", nargs="*", metavar="PROGRAM [ARGUMENT …]", help="after --; no shell reads it")
    parser.add_argument("--scope", action="store_true", help="no command: a parent for others, until closed")
    parser.add_argument("--cwd", metavar="DIR", help="relative to the workspace")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    parser.add_argument("--stdin", metavar="FILE", help="standard input; - for this one's")
    parser.add_argument("--workspace", metavar="SHA256", help="of an archive in RedDB; run in a copy of it")
    parser.add_argument("--class", dest="class_", choices=classes, help="default Short")
    parser.add_argument("--timeout", type=duration, metavar="TIME", help="of one attempt; default 60s")
    parser.add_argument("--max-attempts", type=int, metavar="N", help="when infrastructure fails; default 3")
    parser.add_argument("--idempotency-key", metavar="KEY", help="sent twice with it, it is one task")
    parser.add_argument("--tenant", help="whose it is; default: your own")
    parser.add_argument("--priority", type=int, metavar="N", help="-100 to 100, the highest first")
    parser.add_argument("--delay", type=duration, metavar="TIME", help="begin no earlier: 30s, 5m, 2h, 1d")
    parser.add_argument("--deadline", type=duration, metavar="TIME", help="end it this long from now")
    parser.add_argument("--limit", metavar="KEY=N", help="of the tasks with this key, at most N run at once")
    parser.add_argument("--parent", metavar="ID", help="which ends only after this one")
    parser.add_argument("--budget", type=duration, metavar="TIME", help="of run time, with all descendants")
    parser.add_argument("--backend", choices=("runner", "slurm"), help="default runner")
    parser.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"repeatable: {', '.join((*SLURM_TEXTS, *SLURM_NUMBERS))}, requeue=true",
    )


def spec(arguments: argparse.Namespace) -> dict[str, Any]:
    """The task to send. Raises UsageError."""
    if not arguments.scope and not arguments.argv:
        raise UsageError("Give the command after --, such as: dspy-agent tasks submit -- python -V")
    fields = {
        "argv": arguments.argv,
        "scope": arguments.scope,
        "cwd": arguments.cwd,
        "env": dict(_pair("--env", text) for text in arguments.env),
        "stdin": _stdin(arguments.stdin),
        "workspace": arguments.workspace,
        "class": arguments.class_,
        "timeout_ms": arguments.timeout,
        "max_attempts": arguments.max_attempts,
        "idempotency_key": arguments.idempotency_key,
        "tenant": arguments.tenant,
        "priority": arguments.priority,
        "delay_ms": arguments.delay,
        "deadline_ms": arguments.deadline,
        "limit": _limit(arguments.limit),
        "parent": arguments.parent,
        "budget_ms": arguments.budget,
        "backend": arguments.backend or ("slurm" if arguments.slurm else None),
        "slurm": dict(_slurm(text) for text in arguments.slurm),
    }
    return {name: value for name, value in fields.items() if value}


def duration(text: str) -> int:
    """Milliseconds of 500ms, 30s, 5m, 2h or 1d; a bare number is seconds."""
    found = DURATION.match(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 500ms, 30s, 5m, 2h or 1d")
    milliseconds = round(float(found[1]) * UNIT_MS[found[2] or "s"])
    if milliseconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return milliseconds


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"{flag} {text!r} must be NAME=VALUE.")
    return name, value


def _stdin(path: str | None) -> str | None:
    if path is None:
        return None
    content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"--stdin {path} is not UTF-8; put it into the workspace.") from error


def _limit(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    key, value = _pair("--limit", text)
    return {"key": key, "max": _number("--limit", value)}


def _slurm(text: str) -> tuple[str, Any]:
    given, value = _pair("--slurm", text)
    name = given.replace("-", "_")
    if name in SLURM_NUMBERS:
        return name, _number("--slurm", value)
    if name in SLURM_TEXTS:
        return name, value
    if name == "requeue" and value in ("true", "false"):
        return name, value == "true"
    raise UsageError(
        f"--slurm {text!r} is none of {', '.join((*SLURM_TEXTS, *SLURM_NUMBERS))}, requeue=true."
    )


def _number(flag: str, text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{flag} {text!r} must be a whole number.")
    return int(text)
