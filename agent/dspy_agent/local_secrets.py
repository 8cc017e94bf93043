"""What of a person's own machine the commands of a local run may know: tools, yes; keys and accounts, no."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# HOME is absent on purpose: each command then gets its private temporary directory for it.
PASSED = frozenset(
    {
        "PATH",
        "LANG",
        "LANGUAGE",
        "TERM",
        "TZ",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "PYENV_ROOT",
        "NVM_DIR",
        "RUSTUP_HOME",
        "JAVA_HOME",
        "GOROOT",
    }
)
# RUNNER_* are the runner's own settings, which it keeps from commands.
PASSED_PREFIXES = ("LC_", "PYTHON", "PYTEST_", "RUNNER_")
# Names of further variables, separated by commas, for checks that need them.
ALSO_PASSED = "DSPY_AGENT_PASS_ENV"

SECRET_PLACES = (
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".netrc",
    ".git-credentials",
    ".config/gcloud",
    ".config/gh",
    ".config/git/credentials",
    ".config/op",
    ".config/containers",
    ".config/google-chrome",
    ".config/chromium",
    ".mozilla",
    ".password-store",
    ".local/share/keyrings",
    ".pypirc",
    ".npmrc",
    ".pgpass",
    ".vault-token",
    ".terraform.d",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".huggingface",
    ".cache/huggingface/token",
    ".bash_history",
    ".zsh_history",
    ".python_history",
)


def passed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of `environment` that a runner is started with; what is not known to be harmless stays out."""
    asked_for = {name.strip() for name in environment.get(ALSO_PASSED, "").split(",")}
    return {
        name: value
        for name, value in environment.items()
        if name in PASSED | asked_for or name.startswith(PASSED_PREFIXES)
    }


def secret_places(home: Path, environment: Mapping[str, str]) -> list[Path]:
    """Files and folders that usually hold secrets, those that exist: below `home`, and the kubeconfigs named."""
    named = [Path(part) for part in environment.get("KUBECONFIG", "").split(":") if part]
    return [path for path in (*(home / place for place in SECRET_PLACES), *named) if path.exists()]
