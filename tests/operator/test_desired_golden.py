"""Every byte of the pods that we ask for. `UPDATE_GOLDEN=1 pytest tests/operator` rewrites the files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from dspy_operator.desired.envtask_pod import envtask_pod
from dspy_operator.desired.pod_parts import literal, user_container
from dspy_operator.desired.session_pod import session_pod
from dspy_operator.desired.warm_pod import bind_token, claim, template_hash, warm_pod
from dspy_operator.errors import StalledError
from dspy_operator.store import Object
from dspy_operator.tokens import fingerprint

from tests.operator import builders

GOLDEN = Path(__file__).parent / "golden"
TASK = {"prompt": "Make $HOME and $$ work", "check": {"command": ["pytest", "-q"], "timeoutSeconds": 60}}
TEMPLATE = {
    "image": "python:3.12",
    "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
    "runtimeClassName": "gvisor",
    "nodeSelector": {"pool": "agents"},
    "tolerations": [{"key": "agents", "operator": "Exists"}],
    "runAsUser": 1234,
    "runAsGroup": 2345,
}
GIT = {"git": {"url": "https://git.example/r.git", "ref": "main", "secretRef": {"name": "deploy-key"}}}
LLM = {"endpoint": "http://llm", "model": "m", "apiKeySecretRef": {"name": "llm", "key": "token"}}

SESSIONS = {
    "session-search": builders.owner("fix", task=TASK, policy={"search": {}}, workspace={"empty": {}}),
    "session-llm": builders.owner(
        "fix",
        policy={"llm": LLM},
        template=TEMPLATE,
        workspace=GIT,
        env=[{"name": "A", "value": "$(B)"}],
        envFrom=[{"secretRef": {"name": "more"}}],
        network={"egress": {"mode": "Allow"}},
    ),
    "session-config-map": builders.owner("fix", task=TASK, workspace={"configMapRef": {"name": "bug"}}),
}
WARM = builders.owner("pool", template=TEMPLATE, replicas=3)
TASKS = {
    "envtask-plain": builders.owner("run", command=["echo", "$HOME"]),
    "envtask-full": builders.owner(
        "run",
        command=["make"],
        args=["test"],
        workingDir="src",
        stdin="in $(A)",
        template=TEMPLATE,
        env=[{"name": "A", "value": "1"}],
        workspace={
            "blob": {"sha256": "0" * 64},
            "setup": {"command": ["pip", "install", "."], "timeoutSeconds": 9},
        },
        inputs=[{"path": "data/a.txt", "configMapKeyRef": {"name": "data", "key": "a.txt"}}],
        timeoutSeconds=5,
        output={"maxTailBytes": 100},
        network={"egress": {"mode": "Allow"}},
    ),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_session_pod(name: str, tmp_path: Path) -> None:
    session = SESSIONS[name]
    settings = builders.settings(tmp_path / "token", image_pull_secrets=("registry",))
    template = session["spec"].get("template", {})
    compare(name, session_pod(session, template, settings, settings.reddb_token(), attempt=1))


@pytest.mark.parametrize("name", TASKS)
def test_envtask_pod(name: str, tmp_path: Path) -> None:
    settings = builders.settings(tmp_path / "token")
    compare(name, envtask_pod(TASKS[name], settings, settings.reddb_token(), attempt=2))


def test_warm_pod(tmp_path: Path) -> None:
    settings = builders.settings(tmp_path / "token")
    compare("warm", warm_pod(WARM, settings, settings.reddb_token(), "pool-abcd1234"))


def test_claimed_pod(tmp_path: Path) -> None:
    session = builders.owner("fix")
    session["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "agents"}
    compare("claim", claim(session, "pool", attempt=2))


def test_what_makes_a_warm_pod_another(tmp_path: Path) -> None:
    settings, master = builders.settings(tmp_path / "token"), b"m"
    scaled = {**WARM, "spec": {**WARM["spec"], "replicas": 9}}
    same = template_hash(WARM, settings, master)
    assert template_hash(scaled, settings, master) == same
    assert template_hash({**WARM, "spec": {}}, settings, master) != same
    assert template_hash(WARM, settings, b"rotated") != same
    upgraded = builders.settings(tmp_path / "token", agent_image="agent:2")
    assert template_hash(WARM, upgraded, master) != same


def test_a_warm_pod_does_not_tell_its_token(tmp_path: Path) -> None:
    settings = builders.settings(tmp_path / "token")
    made = str(warm_pod(WARM, settings, b"master", "pool-abcd1234"))
    assert "rdb1." not in made
    assert fingerprint(bind_token(b"master", "team", "pool-abcd1234")) in made
    assert bind_token(b"master", "team", "pool-abcd1234") != bind_token(b"master", "team", "pool-abcd1235")


def test_queue_label_reaches_the_pod(tmp_path: Path) -> None:
    session = builders.owner("fix")
    session["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "agents"}
    made = session_pod(session, {}, builders.settings(tmp_path / "token"), b"m", attempt=1)
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "agents"


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ({}, {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}),
        (
            {"requests": {"memory": "4Gi"}},  # a limit of ours could lie below it
            {"requests": {"cpu": "100m", "memory": "4Gi"}, "limits": {}},
        ),
        (
            {"limits": {"cpu": "50m", "memory": "64Mi"}},  # requests default to these
            {"requests": {}, "limits": {"cpu": "50m", "memory": "64Mi"}},
        ),
    ],
)
def test_default_resources_never_contradict_the_template(asked: Object, made: Object, tmp_path: Path) -> None:
    settings = builders.settings(tmp_path / "token")
    container = user_container(settings, "runner", {}, {"resources": asked})
    assert container["resources"] == made


def test_what_linux_cannot_pass_is_refused() -> None:
    assert literal("a$$b$(C)") == "a$$$$b$$(C)"
    with pytest.raises(StalledError, match="128 KiB"):
        literal("é" * 70_000)


class PlainDumper(yaml.SafeDumper):
    """Writes every value out: references between parts of a pod would only hide what changed."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def compare(name: str, made: Object) -> None:
    """Compares with the committed file, or writes it where asked to."""
    path = GOLDEN / f"{name}.yaml"
    text = yaml.dump(made, Dumper=PlainDumper, sort_keys=False, width=1000)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text
