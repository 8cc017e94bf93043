"""EnvTasks in Pod mode: what a command did is told apart from what happened to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.kube import Kube, condition
from tests.e2e.manifests import config_map, env_task
from tests.e2e.marks import in_cluster

pytestmark = in_cluster(300)

SMALL = {"template": {"resources": {"limits": {"memory": "96Mi"}}}}
FORK_BOMB = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
EAT_MEMORY = "held = []\nwhile True: held.append(bytearray(8 << 20))"
PRINT_A_GIGABYTE = "import sys\nfor _ in range(1024): sys.stdout.write('x' * (1 << 20))"
KILL_MYSELF = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"

# name: command, rest of the spec, condition that ends it, what its status must say
OUTCOMES: dict[str, tuple[list[str], dict[str, Any], str, dict[str, Any]]] = {
    "completes": (
        ["echo", "hello"],
        {},
        "Complete",
        {"exitCode": 0, "reason": "Completed", "stdoutTail": "hello\n"},
    ),
    "fails": (
        ["python3", "-c", "import sys; sys.exit('no')"],
        {},
        "Failed",
        {"exitCode": 1, "reason": "NonZeroExit", "stderrTail": "no\n"},
    ),
    "killed": (["python3", "-c", KILL_MYSELF], {}, "Failed", {"signal": 9}),
    "times-out": (["sleep", "1000"], {"timeoutSeconds": 2}, "Failed", {"reason": "TimedOut"}),
    "eats-memory": (["python3", "-c", EAT_MEMORY], SMALL, "Failed", {"reason": "OOMKilled"}),
    "prints": (["python3", "-c", PRINT_A_GIGABYTE], {"timeoutSeconds": 120}, "Complete", {"exitCode": 0}),
    "forks": (["python3", "-c", FORK_BOMB], {"timeoutSeconds": 5}, "Failed", {}),
    "reads-input": (["cat"], {"stdin": "given"}, "Complete", {"stdoutTail": "given"}),
    "has-env": (["printenv", "A"], {"env": [{"name": "A", "value": "b"}]}, "Complete", {"stdoutTail": "b\n"}),
    "has-files": (
        ["cat", "a.txt"],
        {"workspace": {"configMapRef": {"name": "files"}}},
        "Complete",
        {"stdoutTail": "from a file"},
    ),
}


@pytest.fixture(scope="module")
def tasks(kube: Kube) -> None:
    kube.apply(config_map("files", {"a.txt": "from a file"}))
    for name, (command, spec, _, _) in OUTCOMES.items():
        kube.apply(env_task(name, *command, **spec))


@pytest.mark.parametrize("name", OUTCOMES)
@pytest.mark.usefixtures("tasks")
def test_an_outcome_is_told_truthfully(kube: Kube, name: str) -> None:
    _, _, ends_with, expected = OUTCOMES[name]
    status = kube.wait("envtask", name, ends_with, seconds=240)["status"]
    assert {key: status.get(key) for key in expected} == expected, kube.story("envtask", name)
    assert len(status.get("stdoutTail", "")) <= 4096
    assert "seccomp" in " ".join(status["isolation"])


def test_an_image_that_does_not_exist_is_not_the_commands_failure(kube: Kube) -> None:
    kube.apply(env_task("no-image", "true", template={"image": "localhost/no-such-image:0"}))
    waiting = 'jsonpath={.status.conditions[?(@.type=="Reconciling")].reason}=ImagePullFailed'
    said = condition(kube.wait("envtask", "no-image", waiting), "Reconciling")["message"]
    assert "no-such-image" in said
    assert "exitCode" not in kube.get("envtask", "no-image")["status"]
    kube.run("delete", "envtask", "no-image")


def test_what_is_not_there_yet_says_so(kube: Kube) -> None:
    kube.apply(env_task("pooled", "true", execution="Pool", poolRef={"name": "none"}))
    assert condition(kube.wait("envtask", "pooled", "Stalled"), "Stalled")["reason"] == "NotImplemented"


def test_many_runs_each_know_their_index_and_fail_alone(kube: Kube) -> None:
    command = "import os, sys; sys.exit(int(os.environ['JOB_COMPLETION_INDEX']) == 3)"
    kube.apply(env_task("many", "python3", "-c", command, completions=6, parallelism=3))
    status = kube.wait("envtask", "many", "Failed", seconds=240)["status"]
    assert (status["completedIndexes"], status["failedIndexes"]) == ("0-2,4-5", "3")
    assert (status["recentFailures"][0]["index"], status["recentFailures"][0]["exitCode"]) == (3, 1)
    kube.run("wait", "pod", "--for=delete", "--selector=dspyagent.io/task=many", "--timeout=60s", timeout=70)
