"""What a TrainingJob asks of its backends, to the byte, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dspy_operator.desired.rayjob import rayjob
from dspy_operator.desired.slurm_task import minutes, slurm_task
from dspy_operator.errors import StalledError
from dspy_operator.store import Object

from tests.operator import builders
from tests.operator.test_desired_golden import compare

COMMON: dict[str, Any] = {
    "policy": {"ranker": {}},
    "environment": {"tasks": {"generator": {"name": "mutants", "count": 10}}},
}
TRAINER = {"image": "trainer:1", "command": ["python", "train.py"], "args": ["--note", "it's $HOME"]}
CHECKPOINT = {"uri": "s3://b/$1", "step": 40, "sha256": "a" * 64}
FULL: dict[str, Any] = {
    **COMMON,
    "trainer": {
        **TRAINER,
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "resourcesPerNode": {"limits": {"memory": "8Gi", "nvidia.com/gpu": "1"}},
    },
    "checkpoint": {"storageUri": "s3://b"},
    "budget": {"steps": 100},
    "ray": {
        "rayVersion": "2.55.0",
        "submissionMode": "K8sJobMode",
        "workerGroups": [
            {
                "name": "gpu",
                "replicas": 2,
                "maxReplicas": 3,
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
            }
        ],
    },
}


def queued(job: Object) -> Object:
    job["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "gpus"}
    return job


def test_rayjob_of_one_node(tmp_path: Path) -> None:
    job = builders.owner("rank", **COMMON, trainer=TRAINER)
    compare("rayjob-plain", rayjob(job, builders.settings(tmp_path / "token"), 1, None, None))


def test_rayjob_with_everything(tmp_path: Path) -> None:
    settings = builders.settings(tmp_path / "token", image_pull_secrets=("registry",))
    compare("rayjob-full", rayjob(queued(builders.owner("rank", **FULL)), settings, 2, CHECKPOINT, 500))


def test_more_nodes_than_one_are_workers(tmp_path: Path) -> None:
    job = builders.owner("rank", **COMMON, trainer={**TRAINER, "numNodes": 3})
    made = rayjob(job, builders.settings(tmp_path / "token"), 1, None, None)
    (group,) = made["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["groupName"], group["replicas"], group["maxReplicas"]) == ("workers", 2, 2)


def test_the_installation_has_a_default_image(tmp_path: Path) -> None:
    job = builders.owner("rank", **COMMON, trainer={"command": ["a"]})
    with pytest.raises(StalledError, match="image is missing"):
        rayjob(job, builders.settings(tmp_path / "token"), 1, None, None)
    made = rayjob(job, builders.settings(tmp_path / "token", trainer_image="ours:1"), 1, None, None)
    head = made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert head["containers"][0]["image"] == "ours:1"


def test_slurm_task() -> None:
    slurm = {
        "account": "a",
        "partition": "p",
        "qos": "q",
        "reservation": "r",
        "constraints": "a100&ib",
        "gres": "gpu:4",
        "cpusPerTask": 8,
        "memoryPerNode": "64Gi",
        "timeLimit": "0-12:00:30",
        "workingDirectory": "/shared/run",
    }
    trainer = {"command": ["python", "train.py"], "numNodes": 2, "env": [{"name": "A", "value": "$B"}]}
    job = builders.owner("rank", **COMMON, trainer=trainer, slurm=slurm)
    compare("slurm-task", slurm_task(job, 2, CHECKPOINT))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"trainer": {**TRAINER}}, "spec.trainer.image"),
        ({"trainer": {"command": ["a"], "resourcesPerNode": {}}}, "spec.trainer.resourcesPerNode"),
        ({"trainer": {"command": ["a"], "env": FULL["trainer"]["env"]}}, r"spec.trainer.env\[A\]"),
        ({"slurm": {"endpoint": "http://s"}}, "spec.slurm.endpoint"),
        ({"slurm": {"userName": "u"}}, "spec.slurm.userName"),
        ({"slurm": {"tokenSecretRef": {"name": "a", "key": "b"}}}, "spec.slurm.tokenSecretRef"),
        ({"slurm": {"timeLimit": "1-00:01:00"}}, "above one day"),
        ({}, "spec.trainer.command is missing"),
    ],
)
def test_what_slurm_cannot_do(spec: Object, field: str) -> None:
    with pytest.raises(StalledError, match=field):
        slurm_task(builders.owner("rank", **COMMON, **spec), 1, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("90:00", 90),
        ("1:30:00", 90),
        ("1:30:01", 91),
        ("1-0", 1440),
        ("1-1:30", 1530),
        ("0-0:0:1", 1),
    ],
)
def test_slurms_notation_of_time(text: str, expected: int) -> None:
    assert minutes(text) == expected
