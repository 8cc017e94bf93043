"""Specs that must be let in, and specs that must be refused, with the words that the user then reads."""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]

CHECK: Spec = {"check": {"command": ["pytest", "-q"]}}
LLM: Spec = {"llm": {"endpoint": "http://vllm.models.svc:8000/v1", "model": "small"}}
RANKER_ON_RAY: Spec = {
    "backend": "RayJob",
    "policy": {"ranker": {}},
    "environment": {"tasks": {"generator": {"name": "mutants"}}},
}

MINIMAL: dict[str, Spec] = {
    "AgentSession": {"task": CHECK},
    "AgentPool": {},
    "EnvTask": {"command": ["true"]},
    "TrainingJob": RANKER_ON_RAY,
}

ACCEPTED: list[tuple[str, Spec]] = [
    *MINIMAL.items(),
    ("AgentSession", {}),
    (
        "AgentSession",
        {
            "template": {
                "image": "registry.example.org:5000/swe/bench@sha256:" + "0" * 64,
                "resources": {
                    "requests": {"cpu": "500m", "memory": 1073741824},
                    "limits": {"nvidia.com/gpu": 1},
                },
                "runtimeClassName": "gvisor",
                "nodeSelector": {"kubernetes.io/arch": "amd64"},
                "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "runAsUser": 4000,
            },
            "workspace": {
                "git": {
                    "url": "https://git.example.org/a/b.git",
                    "ref": "v1.2.3",
                    "secretRef": {"name": "git"},
                },
                "setup": {"command": ["pip", "install", "-e", "."], "timeoutSeconds": 120},
                "persistent": {"size": "10Gi", "storageClassName": "fast", "retain": True},
            },
            "task": {"prompt": "Fix it.", **CHECK, "protectedPaths": ["tests/**"]},
            "policy": {
                "llm": {
                    **LLM["llm"],
                    "apiKeySecretRef": {"name": "key", "key": "token"},
                    "temperature": "0.7",
                }
            },
            "budget": {"turns": 10, "tokens": 1000000, "usd": "2.50", "seconds": 900},
            "approval": "Edits",
            "env": [
                {"name": "A", "value": ""},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
            ],
            "envFrom": [{"prefix": "X_", "configMapRef": {"name": "c"}}],
            "lifecycle": {"idleTimeoutSeconds": 60, "shutdownTime": "2030-01-31T18:00:00Z"},
            "network": {
                "egress": {
                    "mode": "Allow",
                    "cidrs": ["10.0.0.0/8", "2001:db8::/32"],
                    "hosts": ["*.example.org"],
                }
            },
        },
    ),
    ("AgentSession", {"task": {"prompt": "Explain the code."}, "policy": LLM}),
    ("AgentSession", {"poolRef": {"name": "warm"}, "pooling": "Require"}),
    ("AgentSession", {"workspace": {"empty": {}}}),
    ("AgentPool", {"replicas": 10, "runnerOnly": True, "template": {"image": "python:3.12"}}),
    (
        "EnvTask",
        {"command": ["make"], "execution": "Pool", "poolRef": {"name": "warm"}, "completions": 10000},
    ),
    (
        "EnvTask",
        {
            "command": ["python3", "main.py"],
            "args": ["--fast"],
            "workingDir": "a/b..c",
            "stdin": "1\n2\n",
            "inputs": [
                {"path": "data/in.txt", "configMapKeyRef": {"name": "c", "key": "in.txt"}},
                {"path": "data/big.bin", "blob": {"sha256": "a" * 64}},
            ],
            "workspace": {"blob": {"sha256": "b" * 64}},
            "output": {"maxTailBytes": 0},
        },
    ),
    (
        "TrainingJob",
        {
            "backend": "Slurm",
            "policy": {"causalLM": {"model": "org/model", "lora": {"rank": 8}}},
            "environment": {"tasks": {"dataset": {"uri": "s3://bucket/tasks.jsonl"}}, "groupSize": 16},
            "rollout": {"local": {}},
            "checkpoint": {"storageUri": "s3://bucket/run"},
            "slurm": {
                "endpoint": "https://slurm.example.org:6820",
                "gres": "gpu:a100:4",
                "timeLimit": "1-12:00:00",
            },
        },
    ),
    (
        "TrainingJob",
        {**RANKER_ON_RAY, "ray": {"rayVersion": "2.60.0", "workerGroups": [{"name": "w", "replicas": 2}]}},
    ),
]

REFUSED: list[tuple[str, Spec, str]] = [
    ("AgentSession", {"poolRef": {"name": "a"}, "template": {}}, "set poolRef or template, not both"),
    ("AgentSession", {"pooling": "Require"}, "pooling Require needs a poolRef to wait for"),
    ("AgentSession", {"policy": {"search": {}}}, "policy.search needs task.check"),
    ("AgentSession", {"task": {"prompt": "Fix it."}}, "a task without a check needs policy.llm"),
    ("AgentSession", {"task": {"prompt": "x"}, "policy": {"search": {}}}, "policy.search needs task.check"),
    ("AgentSession", {"task": {}}, "set prompt, check or both"),
    ("AgentSession", {"task": {"check": {"command": []}}}, "should have at least 1 items"),
    ("AgentSession", {"task": CHECK, "policy": {}}, "set exactly one of search, llm and trainingJobRef"),
    (
        "AgentSession",
        {"task": CHECK, "policy": {"search": {}, **LLM}},
        "set exactly one of search, llm and trainingJobRef",
    ),
    (
        "AgentSession",
        {"workspace": {"empty": {}, "blob": {"sha256": "a" * 64}}},
        "set at most one of git, configMapRef, blob and empty",
    ),
    ("AgentSession", {"workspace": {"git": {"url": "file:///etc"}}}, "should match"),
    ("AgentSession", {"workspace": {"git": {"url": "ext::sh -c id"}}}, "should match"),
    (
        "AgentSession",
        {"workspace": {"git": {"url": "https://me:secret@git.example.org/r.git"}}},
        "credentials do not belong in the url",
    ),
    (
        "AgentSession",
        {"workspace": {"git": {"url": "https://token@git.example.org/r.git"}}},
        "credentials do not belong in the url",
    ),
    (
        "EnvTask",
        {"command": ["true"], "workspace": {"git": {"url": "http://token@git.example.org"}}},
        "credentials do not belong in the url",
    ),
    (
        "AgentSession",
        {"workspace": {"git": {"url": "ssh://me:secret@git.example.org/r.git"}}},
        "credentials do not belong in the url",
    ),
    (
        "AgentSession",
        {"workspace": {"git": {"url": "https://h/r", "ref": "--upload-pack=x"}}},
        "should match",
    ),
    (
        "AgentSession",
        {"workspace": {"git": {"url": "https://h/r", "ref": "a..b"}}},
        "a git ref cannot contain '..'",
    ),
    ("AgentSession", {"workspace": {"blob": {"sha256": "A" * 64}}}, "should match"),
    ("AgentSession", {"workspace": {"persistent": {"size": "-1Gi"}}}, "should match"),
    (
        "AgentSession",
        {"task": {**CHECK, "protectedPaths": ["../outside"]}},
        "must be relative to the workspace, without '..'",
    ),
    (
        "AgentSession",
        {"env": [{"name": "DSPY_X", "value": "1"}]},
        "names that begin with DSPY_ or RUNNER_ are reserved",
    ),
    (
        "AgentSession",
        {"env": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        "set value or valueFrom, not both",
    ),
    (
        "AgentSession",
        {"env": [{"name": "A", "valueFrom": {}}]},
        "set exactly one of secretKeyRef and configMapKeyRef",
    ),
    ("AgentSession", {"env": [{"name": "A"}, {"name": "A"}]}, "Duplicate value"),
    ("AgentSession", {"env": [{"name": "1A"}]}, "should match"),
    ("AgentSession", {"envFrom": [{"prefix": "A_"}]}, "set exactly one of secretRef and configMapRef"),
    *(
        (
            kind,
            {**MINIMAL[kind], "envFrom": [{"prefix": prefix, "secretRef": {"name": "s"}}]},
            "names that begin with DSPY_ or RUNNER_ are reserved",
        )
        for kind in ("AgentSession", "EnvTask")
        for prefix in ("RUNNER_", "DSPY_AGENT_")
    ),
    ("AgentSession", {"template": {"runAsUser": 0}}, "should be greater than or equal to 1"),
    ("AgentSession", {"template": {"image": "--privileged"}}, "should match"),
    ("AgentSession", {"template": {"podSpec": {}}}, "unknown field"),
    (
        "AgentSession",
        {"template": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": 1000000}}}},
        "a request cannot be larger than the limit of the same resource",
    ),
    ("AgentSession", {"approval": "Sometimes"}, "Unsupported value"),
    ("AgentSession", {"budget": {"usd": "1e3"}}, "should match"),
    ("AgentSession", {"budget": {"seconds": 0}}, "should be greater than or equal to 1"),
    ("AgentSession", {"lifecycle": {"shutdownTime": "tomorrow"}}, "must be of type date-time"),
    (
        "AgentSession",
        {"network": {"egress": {"hosts": ["example.org"]}}},
        "cidrs and hosts have a meaning with mode Allow only",
    ),
    ("AgentSession", {"network": {"egress": {"mode": "Allow", "cidrs": ["10.0.0.1"]}}}, "must be a CIDR"),
    (
        "AgentSession",
        {"task": {"prompt": "x"}, "policy": {"llm": {**LLM["llm"], "temperature": "3"}}},
        "should match",
    ),
    ("AgentPool", {"replicas": -1}, "should be greater than or equal to 0"),
    ("AgentPool", {"replicas": 10001}, "should be less than or equal to 10000"),
    ("EnvTask", {}, "spec.command: Required value"),
    ("EnvTask", {"command": ["a"], "execution": "Pool"}, "execution Pool needs poolRef or sessionRef"),
    ("EnvTask", {"command": ["a"], "poolRef": {"name": "p"}}, "poolRef and sessionRef need execution: Pool"),
    (
        "EnvTask",
        {"command": ["a"], "execution": "Pool", "poolRef": {"name": "p"}, "template": {}},
        "set at most one of poolRef, sessionRef and template",
    ),
    (
        "EnvTask",
        {"command": ["a"], "execution": "Pool", "sessionRef": {"name": "s"}, "workspace": {"empty": {}}},
        "with sessionRef the command works on the session's workspace",
    ),
    ("EnvTask", {"command": ["a"], "workingDir": "/etc"}, "must be relative to the workspace, without '..'"),
    (
        "EnvTask",
        {"command": ["a"], "workingDir": "a/../../b"},
        "must be relative to the workspace, without '..'",
    ),
    (
        "EnvTask",
        {"command": ["a"], "inputs": [{"path": "../x", "blob": {"sha256": "a" * 64}}]},
        "must be relative to the workspace, without '..'",
    ),
    ("EnvTask", {"command": ["a"], "inputs": [{"path": "x"}]}, "set exactly one of configMapKeyRef and blob"),
    ("EnvTask", {"command": ["a"], "completions": 0}, "should be greater than or equal to 1"),
    ("EnvTask", {"command": ["a"], "output": {"maxTailBytes": 5000}}, "should be less than or equal to 4096"),
    ("EnvTask", {"command": ["a"], "workspace": {"persistent": {"size": "1Gi"}}}, "unknown field"),
    ("TrainingJob", {}, "spec.backend: Required value"),
    ("TrainingJob", {**RANKER_ON_RAY, "backend": "Slurm"}, "backend Slurm needs the field slurm"),
    (
        "TrainingJob",
        {**RANKER_ON_RAY, "slurm": {"endpoint": "http://s"}},
        "slurm has a meaning with backend: Slurm only",
    ),
    (
        "TrainingJob",
        {**RANKER_ON_RAY, "backend": "Slurm", "slurm": {"endpoint": "http://s"}, "ray": {}},
        "ray has a meaning with backend: RayJob only",
    ),
    ("TrainingJob", {**RANKER_ON_RAY, "policy": {}}, "set exactly one of ranker and causalLM"),
    (
        "TrainingJob",
        {**RANKER_ON_RAY, "environment": {"tasks": {}}},
        "set exactly one of dataset and generator",
    ),
    (
        "TrainingJob",
        {**RANKER_ON_RAY, "rollout": {"local": {}, "poolRef": {"name": "p"}}},
        "set poolRef or local, not both",
    ),
    (
        "TrainingJob",
        {**RANKER_ON_RAY, "ray": {"workerGroups": [{"name": "w", "replicas": 3, "maxReplicas": 2}]}},
        "replicas must lie between minReplicas and maxReplicas",
    ),
]

REFUSED_NAMES: list[tuple[str, str]] = [
    ("AgentSession", "a" * 64),
    ("AgentSession", "with.dot"),
    ("AgentPool", "a" * 53),
    ("EnvTask", "a" * 58),
    ("TrainingJob", "a" * 48),
]

# Each is applied to MINIMAL, where most of these fields are absent: appearing counts as changing.
FIXED_FIELDS: list[tuple[str, str, Any]] = [
    ("AgentSession", "template", {"image": "python:3.12"}),
    ("AgentSession", "poolRef", {"name": "p"}),
    ("AgentSession", "workspace", {"empty": {}}),
    ("AgentSession", "task", {"prompt": "Something else."}),
    ("AgentSession", "policy", {"search": {}}),
    ("AgentSession", "env", [{"name": "A", "value": "1"}]),
    ("AgentSession", "envFrom", [{"secretRef": {"name": "s"}}]),
    ("AgentSession", "storage", "Dedicated"),
    ("AgentSession", "pooling", "Never"),
    ("AgentSession", "network", {"egress": {"mode": "Allow"}}),
    ("EnvTask", "command", ["false"]),
    ("EnvTask", "args", ["x"]),
    ("EnvTask", "execution", "Pool"),
    ("EnvTask", "template", {"image": "python:3.12"}),
    ("EnvTask", "workingDir", "x"),
    ("EnvTask", "env", [{"name": "A", "value": "1"}]),
    ("EnvTask", "stdin", "x"),
    ("EnvTask", "inputs", [{"path": "x", "blob": {"sha256": "a" * 64}}]),
    ("EnvTask", "timeoutSeconds", 5),
    ("EnvTask", "completions", 2),
    ("EnvTask", "class", "Long"),
    ("EnvTask", "output", {"maxTailBytes": 1}),
    ("TrainingJob", "backend", "Slurm"),
    ("TrainingJob", "policy", {"ranker": None, "causalLM": {"model": "m"}}),
    ("TrainingJob", "trainer", {"numNodes": 2}),
    ("TrainingJob", "ray", {"rayVersion": "2.60.0"}),
]
