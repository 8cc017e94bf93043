"""Configuration: where a value comes from, and what a wrong one says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import subprocess
import sys
from pathlib import Path

import pytest
from dspy_operator import names, settings
from dspy_operator.errors import SettingsError
from dspy_operator.tokens import scoped_token


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    token = tmp_path / "token"
    token.write_text("secret\n")
    return {
        "DSPY_OPERATOR_NAMESPACE": "system",
        "DSPY_OPERATOR_AGENT_IMAGE": "agent",
        "DSPY_OPERATOR_ENV_RUNNER_IMAGE": "runner",
        "DSPY_OPERATOR_RUNNER_IMAGE": "sandbox",
        "DSPY_OPERATOR_REDDB_URL": "redis://reddb:6380",
        "DSPY_OPERATOR_REDDB_HTTP_URL": "http://reddb:8082",
        "DSPY_OPERATOR_REDDB_TOKEN_FILE": str(token),
    }


def test_flag_wins_over_environment(environ: dict[str, str]) -> None:
    environ["DSPY_OPERATOR_WORKERS"] = "4"
    assert settings.load([], environ).workers == 4
    assert settings.load(["--workers", "7"], environ).workers == 7


def test_lists_and_empty_lists(environ: dict[str, str]) -> None:
    environ["DSPY_OPERATOR_WATCH_NAMESPACES"] = "a, b"
    environ["DSPY_OPERATOR_IMAGE_PULL_SECRETS"] = ""
    made = settings.load([], environ)
    assert made.watch_namespaces == ("a", "b")
    assert made.image_pull_secrets == ()


def test_token_is_read_at_every_use(environ: dict[str, str]) -> None:
    made = settings.load([], environ)
    assert made.reddb_token() == b"secret"
    made.reddb_token_file.write_text("rotated")
    assert made.reddb_token() == b"rotated"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DSPY_OPERATOR_WORKERS", "many"),
        ("DSPY_OPERATOR_WORKERS", "0"),
        ("DSPY_OPERATOR_LISTEN", "8081"),
        ("DSPY_OPERATOR_LOG_LEVEL", "loud"),
        ("DSPY_OPERATOR_IMAGE_PULL_POLICY", "Sometimes"),
        ("DSPY_OPERATOR_REDDB_URL", "reddb:6380"),
        ("DSPY_OPERATOR_REDDB_TOKEN_FILE", "/nowhere/token"),
        ("DSPY_OPERATOR_AGENT_IMAGE", None),
    ],
)
def test_wrong_settings_are_named(environ: dict[str, str], name: str, value: str | None) -> None:
    environ.pop(name, None)
    if value is not None:
        environ[name] = value
    with pytest.raises(SettingsError, match=name):
        settings.load([], environ)


def test_operator_ends_with_status_2_and_names_the_setting() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "dspy_operator"],
        env={},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "--namespace (DSPY_OPERATOR_NAMESPACE) is required" in ended.stderr


def test_scoped_token_is_what_reddb_checks() -> None:
    token = scoped_token(b"master", "session/a/b/c/")
    version, prefix, digest = token.split(".")
    assert version == "rdb1"
    assert base64.urlsafe_b64decode(prefix + "=" * (-len(prefix) % 4)) == b"session/a/b/c/"
    assert digest == hmac.new(b"master", f"rdb1.{prefix}".encode(), hashlib.sha256).hexdigest()


def test_long_names_stay_apart() -> None:
    first, second = "a" * 300 + "x", "a" * 300 + "y"
    assert names.task_pod(first, 1) != names.task_pod(second, 1)
    assert len(names.task_pod(first, 12)) <= 253
    assert len(names.label_value(first)) <= 63
    assert names.task_pod("run", 3) == "run-3"
