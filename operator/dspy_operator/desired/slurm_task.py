"""The orchestrator's task that makes one attempt's Slurm job."""

from __future__ import annotations

import re

from dspy_operator.desired import training
from dspy_operator.desired.quantity import quantity
from dspy_operator.errors import StalledError
from dspy_operator.store import Object

_DAY_MS = 86_400_000  # the longest attempt that the orchestrator takes
# An orchestrator that restarts takes up the job that runs, and counts that; another job is noticed by its id.
_MAX_ATTEMPTS = 20
_RENAMED = {
    "account": "account",
    "partition": "partition",
    "qos": "qos",
    "reservation": "reservation",
    "constraints": "constraint",
    "gres": "gres",
    "cpusPerTask": "cpus_per_task",
}


def slurm_task(job: Object, attempt: int, checkpoint: Object | None) -> Object:
    """The body of POST /v1/tasks. The same attempt is the same task, however often it is sent."""
    _refuse(job["spec"])
    env = {each["name"]: each.get("value", "") for each in training.user_env(job)}
    slurm = job["spec"].get("slurm", {})
    task: Object = {
        "argv": training.command(job),
        "env": {**env, **training.contract(job, attempt, checkpoint)},
        "backend": "slurm",
        "class": "Long",
        "tenant": job["metadata"]["namespace"],
        "idempotency_key": f"training/{job['metadata']['uid']}/{attempt}",
        "max_attempts": _MAX_ATTEMPTS,
        "timeout_ms": _DAY_MS,
        "slurm": _options(job["spec"]),
    }
    if "workingDirectory" in slurm:
        task["cwd"] = slurm["workingDirectory"]
    return task


def minutes(limit: str) -> int:
    """Slurm's time limit in whole minutes, rounded up: minutes, mm:ss, hh:mm:ss, d-hh, d-hh:mm or d-hh:mm:ss."""
    days, dash, rest = limit.rpartition("-")
    fields = [int(field) for field in rest.split(":")]
    if dash:
        hours, mins, seconds = (*fields, 0, 0)[:3]
    elif len(fields) == 3:
        hours, mins, seconds = fields
    else:
        hours, mins, seconds = 0, fields[0], fields[1] if len(fields) == 2 else 0
    whole = int(days or 0) * 1440 + hours * 60 + mins
    return whole + (1 if seconds else 0)


def _options(spec: Object) -> Object:
    slurm = spec.get("slurm", {})
    options: Object = {
        "nodes": spec.get("trainer", {}).get("numNodes", 1),
        # A requeued job begins with the environment that it had: it would not know where to resume.
        "requeue": False,
    }
    options.update({ours: slurm[theirs] for theirs, ours in _RENAMED.items() if theirs in slurm})
    if "memoryPerNode" in slurm:
        options["memory_mb"] = max(1, -(-int(quantity(slurm["memoryPerNode"])) // 2**20))
    if "timeLimit" in slurm:
        options["time_limit_minutes"] = minutes(slurm["timeLimit"])
    return options


def _refuse(spec: Object) -> None:
    """Raises StalledError for what a job of the orchestrator's cannot do."""
    trainer, slurm = spec.get("trainer", {}), spec.get("slurm", {})
    own = "the orchestrator's own Slurm is used (chart value orchestrator.slurm)"
    secret = [e["name"] for e in trainer.get("env", []) if "valueFrom" in e]
    limit = minutes(slurm["timeLimit"]) if re.search(r"[1-9]", slurm.get("timeLimit", "")) else 1
    refused = {
        "spec.trainer.image": ("image" in trainer, "Slurm runs the command on its nodes, without an image"),
        "spec.trainer.resourcesPerNode": (
            "resourcesPerNode" in trainer,
            "use slurm.cpusPerTask, slurm.memoryPerNode and slurm.gres",
        ),
        f"spec.trainer.env[{''.join(secret[:1])}].valueFrom": (
            bool(secret),
            "a Slurm job's environment can be read on its cluster, so nothing of a Secret is put there",
        ),
        "spec.slurm.endpoint": ("endpoint" in slurm, own),
        "spec.slurm.tokenSecretRef": ("tokenSecretRef" in slurm, own),
        "spec.slurm.userName": ("userName" in slurm, own),
        "spec.slurm.timeLimit above one day": (limit > 1440, "an attempt lasts a day at most"),
    }
    for field, (asked, why) in refused.items():
        if asked:
            raise StalledError(
                "NotSupportedOnSlurm",
                f"{field} cannot be used: {why}. Create the TrainingJob again without it.",
            )
