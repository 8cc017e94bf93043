"""Fields whose feature this release lacks: refused with their name, never ignored in silence."""

from __future__ import annotations

from dspy_operator.errors import StalledError
from dspy_operator.store import Object


def check_session(session: Object) -> None:
    """Raises StalledError for the first field of a session that asks for what this release cannot do."""
    spec = session["spec"]
    egress = spec.get("network", {}).get("egress", {})
    unsupported = {
        "spec.policy.trainingJobRef": "trainingJobRef" in spec.get("policy", {}),
        "spec.storage: Dedicated": spec.get("storage") == "Dedicated",
        f"spec.approval: {spec.get('approval')}": spec.get("approval", "Never") != "Never",
        "spec.workspace.persistent": "persistent" in spec.get("workspace", {}),
        "spec.network.egress.hosts": bool(egress.get("hosts")),
        "spec.network.egress.cidrs": bool(egress.get("cidrs")),
        "spec.lifecycle.idleTimeoutSeconds": "idleTimeoutSeconds" in spec.get("lifecycle", {}),
    }
    _refuse(unsupported)


def check_pool(pool: Object) -> None:
    """Raises StalledError for a pool that asks for what this release cannot do."""
    _refuse({"spec.runnerOnly": pool["spec"].get("runnerOnly", False)})


def check_task(task: Object) -> None:
    """Raises StalledError for the first field of a task that asks for what this release cannot do."""
    spec = task["spec"]
    egress = spec.get("network", {}).get("egress", {})
    unsupported = {
        "spec.execution: Pool": spec.get("execution") == "Pool",
        "spec.poolRef": "poolRef" in spec,
        "spec.sessionRef": "sessionRef" in spec,
        "spec.inputs[].blob": any("blob" in entry for entry in spec.get("inputs", [])),
        "spec.network.egress.hosts": bool(egress.get("hosts")),
        "spec.network.egress.cidrs": bool(egress.get("cidrs")),
    }
    _refuse(unsupported)


def _refuse(unsupported: dict[str, bool]) -> None:
    for field, asked in unsupported.items():
        if asked:
            message = f"{field} is not implemented in this release: create the object again without it."
            raise StalledError("NotImplemented", message)
