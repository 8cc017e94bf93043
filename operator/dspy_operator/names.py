"""Every name that the operator gives or looks for: groups, kinds, labels, annotations, field manager, pod names."""

from __future__ import annotations

import hashlib
import secrets
import string
from typing import Final, NamedTuple

GROUP: Final = "dspyagent.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "dspy-operator"

AGENT_SESSIONS: Final = "agentsessions"
AGENT_POOLS: Final = "agentpools"
ENV_TASKS: Final = "envtasks"
TRAINING_JOBS: Final = "trainingjobs"
KINDS: Final = {
    AGENT_SESSIONS: "AgentSession",
    AGENT_POOLS: "AgentPool",
    ENV_TASKS: "EnvTask",
    TRAINING_JOBS: "TrainingJob",
}
PLURALS: Final = {kind: plural for plural, kind in KINDS.items()}

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_SESSION: Final = f"{GROUP}/session"
LABEL_TASK: Final = f"{GROUP}/task"
LABEL_TRAINING: Final = f"{GROUP}/training"
LABEL_POOL: Final = f"{GROUP}/pool"  # a warm pod that no session has
LABEL_CLAIMED_FROM: Final = f"{GROUP}/claimed-from"  # the pool of a pod that a session has
POD_LABELS: Final = {AGENT_SESSIONS: LABEL_SESSION, ENV_TASKS: LABEL_TASK, AGENT_POOLS: LABEL_POOL}
POD_COMPONENTS: Final = {
    AGENT_SESSIONS: "dspy-agent-session",
    ENV_TASKS: "dspy-agent-envtask",
    AGENT_POOLS: "dspy-agent-session",  # what a warm pod is to become: policies for sessions hold from its start
}
LABEL_QUEUE: Final = "kueue.x-k8s.io/queue-name"
MANAGED_PODS: Final = f"{LABEL_MANAGED_BY}={FIELD_MANAGER}"

# How many pods an object has had, this one included: what bounds recreation.
ANNOTATION_ATTEMPT: Final = f"{GROUP}/attempt"
# Which run of a task with several completions a pod makes, from 0.
ANNOTATION_INDEX: Final = f"{GROUP}/index"
# What a warm pod was made from: one of another hash is replaced, and not given to a session.
ANNOTATION_TEMPLATE_HASH: Final = f"{GROUP}/template-hash"
# Why a session that would have taken a warm pod has a cold one.
ANNOTATION_LAUNCH_REASON: Final = f"{GROUP}/launch-reason"

# Keeps a TrainingJob until its Slurm job, which no garbage collector knows, is cancelled.
FINALIZER_SLURM: Final = f"{GROUP}/slurm-job"

CONTAINER_AGENT: Final = "agent"
CONTAINER_RUNNER: Final = "runner"
CONTAINER_INSTALL: Final = "install-runner"
CONTAINER_WORKSPACE: Final = "workspace"
CONTAINER_SETUP: Final = "setup"
CONTAINER_TASK: Final = "task"

_RANDOM = string.ascii_lowercase + string.digits
_LABEL_MAX = 63
_NAME_MAX = 253
_HASH_LENGTH = 8


class Key(NamedTuple):
    """What the queue holds: one object of ours."""

    plural: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.plural}/{self.namespace}/{self.name}"


def label_value(name: str) -> str:
    """The name where a label can hold it; beyond 63 characters its head and a hash, so that two never meet."""
    return name if len(name) <= _LABEL_MAX else _shorten(name, _LABEL_MAX)


def session_pod(session: str) -> str:
    """A session's pod bears the session's name, in every attempt."""
    return session


def task_pod(task: str, attempt: int) -> str:
    """`<task>-<attempt>`, attempts counted from 1."""
    suffix = f"-{attempt}"
    return _shorten(task, _NAME_MAX - len(suffix)) + suffix


def run_pod(task: str, index: int, attempt: int) -> str:
    """`<task>-<index>-<attempt>`: one run of a task with several completions."""
    return task_pod(f"{task}-{index}", attempt)


def warm_pod(pool: str) -> str:
    """`<pool>-<8 random lower-case letters and digits>`."""
    return f"{pool}-{''.join(secrets.choice(_RANDOM) for _ in range(_HASH_LENGTH))}"


def pool_selector(pool: str) -> str:
    """The label selector of a pool's unclaimed pods."""
    return f"{LABEL_POOL}={label_value(pool)}"


def bind_prefix(namespace: str, pod: str) -> str:
    """What the token that binds a warm pod is made for."""
    return f"bind/{namespace}/{pod}"


def session_prefix(namespace: str, name: str, uid: str) -> str:
    """The RedDB keys that a session owns all begin so."""
    return f"session/{namespace}/{name}/{uid}/"


def task_prefix(namespace: str, name: str, uid: str) -> str:
    """The RedDB keys that an EnvTask owns all begin so."""
    return f"envtask/{namespace}/{name}/{uid}/"


def event_name(name: str, uid: str, reason: str, message: str) -> str:
    """The same thing told twice is one Event: the name is made from what it says."""
    return f"{_shorten(name, 200)}.{_digest(uid, reason, message)}"


def _shorten(name: str, limit: int) -> str:
    if len(name) <= limit:
        return name
    head = name[: limit - _HASH_LENGTH - 1].rstrip("-.")
    return f"{head}-{_digest(name)[:_HASH_LENGTH]}"


def _digest(*parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return digest[:16]
