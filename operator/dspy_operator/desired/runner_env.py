"""The runner's own settings in a container of the user's image, every one of them pinned.

The runner reads RUNNER_* where it was given no flag, and a user's `envFrom` can bring any name along: a Secret with a
key RUNNER_REQUIRE would decide what the sandbox does. Kubernetes lets a container's `env` win over its `envFrom`, and
the runner lets a flag win over its environment: each of its settings is either a flag or stands here. The values are
the runner's own defaults, but for those that it would work out on the spot.
"""

from __future__ import annotations

from dspy_operator.desired.quantity import quantity
from dspy_operator.store import Object

_GIB = 2**30
_LARGEST = 2.0**62  # Kubernetes takes a quantity beyond 63 bits for the largest that it knows
# More than the widest search (spec.policy.search.concurrency): the session's agent is the only client.
_UNBOUNDED_CONCURRENCY = 256
# Of one user id on a whole node, whose size nobody knows here: 75 for each of the 110 pods that a kubelet takes.
_USER_PROCESSES = 8192

_SANDBOX = {
    "RUNNER_UNIX_SOCKETS": "auto",
    "RUNNER_HIDE": "/dspy/token",
    "RUNNER_WRITABLE": "/tmp",  # noqa: S108 - the container's own
    "RUNNER_SHARED_TMP": "true",
    "RUNNER_REQUIRE": "no_new_privs,landlock,seccomp,no_network",
    "RUNNER_MAX_LANDLOCK_ABI": str(2**31 - 1),
    "RUNNER_MAX_PROCESSES": "512",
    "RUNNER_MAX_USER_PROCESSES": str(_USER_PROCESSES),
    "RUNNER_MAX_FILE_BYTES": str(8 * _GIB),
    "RUNNER_MAX_OPEN_FILES": "8192",
}
_SERVE = {
    "RUNNER_LOG": "info",
    "RUNNER_MAX_TIMEOUT_MS": str(24 * 3_600_000),
    "RUNNER_MAX_FORKS": "256",
    "RUNNER_MAX_FORK_BYTES": str(4 * _GIB),
    "RUNNER_MAX_ARCHIVE_BYTES": str(2 * _GIB),
    "RUNNER_MAX_ENTRIES": "500000",
    "RUNNER_MAX_TRANSFER_BYTES": str(64 * 2**20),
    "RUNNER_MAX_WORKSPACES": "64",
    "RUNNER_MAX_WORKSPACE_BYTES": str(_GIB),
    "RUNNER_MAX_WORKSPACES_TOTAL_BYTES": str(2 * _GIB),
    "RUNNER_SPARE_FORKS": "4",
    "RUNNER_STOP_GRACE_SECONDS": "5",
    "RUNNER_PORT_FILE": "/forks/port",  # where no command can put a link in its place
    "RUNNER_EXIT_WITH_PARENT": "false",
    "RUNNER_BINDABLE": "false",  # a warm pod's has the flag
}


def of_run(resources: Object) -> list[Object]:
    """Variables of a container that runs one command. `resources` are the container's own."""
    return [*_literals(_SANDBOX), _max_memory(resources)]


def of_serve(resources: Object) -> list[Object]:
    """Variables of a container that serves commands. `resources` are the container's own."""
    concurrency = {"RUNNER_MAX_CONCURRENT": str(_concurrency(resources))}
    return [*of_run(resources), *_literals(_SERVE), *_literals(concurrency)]


def _max_memory(resources: Object) -> Object:
    """Nine tenths of the container's memory, so that a greedy command is stopped before the kernel ends the runner.

    Without a limit it is the node's, which the kubelet knows.
    """
    limit = _limit(resources, "memory")
    if limit is None:
        node = {"resourceFieldRef": {"resource": "limits.memory"}}
        return {"name": "RUNNER_MAX_MEMORY_BYTES", "valueFrom": node}
    return {"name": "RUNNER_MAX_MEMORY_BYTES", "value": str(int(limit) // 10 * 9)}


def _concurrency(resources: Object) -> int:
    """Two commands for each processor that the container may use."""
    limit = _limit(resources, "cpu")
    return _UNBOUNDED_CONCURRENCY if limit is None else min(_UNBOUNDED_CONCURRENCY, 2 * max(1, int(limit)))


def _limit(resources: Object, name: str) -> float | None:
    """A limit that the container has; Kubernetes takes 0 for none."""
    value = quantity(resources.get("limits", {}).get(name, 0))
    return min(value, _LARGEST) if value > 0 else None


def _literals(values: dict[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in values.items()]
