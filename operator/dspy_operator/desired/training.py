"""What a trainer is told, whichever backend runs it: its command, its image, and the contract in its environment."""

from __future__ import annotations

from dspy_operator.desired import pod_parts as parts
from dspy_operator.errors import StalledError
from dspy_operator.store import Object

PREFIX = "DSPY_TRAINING_"
_TOLD = ("algorithm", "policy", "environment", "rollout", "checkpoint", "budget")
_REMEDY = "create the TrainingJob again with it, since the trainer cannot be changed"


def command(job: Object) -> list[str]:
    """The trainer's argv. Raises StalledError where the spec has none: no backend starts an image's own command."""
    trainer = job["spec"].get("trainer", {})
    if not trainer.get("command"):
        raise StalledError("TrainerCommandMissing", f"spec.trainer.command is missing: {_REMEDY}.")
    return [*trainer["command"], *trainer.get("args", [])]


def image(job: Object, default: str) -> str:
    """The trainer's image. Raises StalledError where neither the spec nor the installation names one."""
    found: str = job["spec"].get("trainer", {}).get("image") or default
    if not found:
        raise StalledError(
            "TrainerImageMissing",
            f"spec.trainer.image is missing, and this installation has no default (training.image): {_REMEDY}.",
        )
    return found


def contract(job: Object, attempt: int, checkpoint: Object | None) -> dict[str, str]:
    """The variables that only we set. `checkpoint` is where to go on; None begins at the first step."""
    spec, metadata = job["spec"], job["metadata"]
    told = {name: spec[name] for name in _TOLD if name in spec}
    variables = {
        f"{PREFIX}JOB": f"{metadata['namespace']}/{metadata['name']}",
        f"{PREFIX}ATTEMPT": str(attempt),
        f"{PREFIX}SPEC": parts.compact_json(told),
        "PYTHONUNBUFFERED": "1",  # progress is read while it is printed
    }
    if checkpoint is not None:
        variables[f"{PREFIX}RESUME_FROM"] = checkpoint["uri"]
        variables[f"{PREFIX}RESUME_STEP"] = str(checkpoint["step"])
        if "sha256" in checkpoint:
            variables[f"{PREFIX}RESUME_SHA256"] = checkpoint["sha256"]
    return variables


def user_env(job: Object) -> list[Object]:
    """The user's variables, without those whose meaning is ours."""
    given = job["spec"].get("trainer", {}).get("env", [])
    return [each for each in given if not each["name"].startswith(PREFIX)]
