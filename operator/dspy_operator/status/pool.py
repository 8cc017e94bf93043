"""From a pool's unclaimed pods to what is to be done, and to what its status says. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from dspy_operator import names
from dspy_operator.status import pods
from dspy_operator.status.conditions import Condition
from dspy_operator.status.session import MAX_AGENT_RESTARTS
from dspy_operator.store import Object

BATCH = 16  # pods that one pass creates or deletes: sessions are not kept waiting behind a large pool
# Pods that may be on their way while none of them is known to work: a template that cannot work costs no more.
MOST_UNPROVEN = 3
# A pod that failed on its node for so long may do better on another.
_REPLACE_AFTER_S = 300.0
# A pod that is not ready for so long without a word why has failed as well.
_HANGS_AFTER_S = 300.0
_HANGS = "PodStarting"
# Restarts of its agent after which a ready pod goes: those that are left are for its session.
_WORN_RESTARTS = MAX_AGENT_RESTARTS // 2
_UNSCHEDULABLE = "Unschedulable"


@dataclass
class Inventory:
    """A pool's unclaimed pods that were not asked to go."""

    free: list[Object] = field(default_factory=list)  # a session can take them; the first was ready first
    starting: list[Object] = field(default_factory=list)
    failing: list[Object] = field(default_factory=list)
    useless: list[Object] = field(default_factory=list)  # of an earlier template, or worn
    over: list[Object] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """Pods that count towards spec.replicas."""
        return len(self.free) + len(self.starting) + len(self.failing)


def take_stock(every: list[Object], template_hash: str, now: datetime) -> Inventory:
    """Sorts a pool's pods."""
    found = Inventory(free=sorted((pod for pod in every if is_free(pod, template_hash)), key=ready_since))
    for pod in every:
        if pods.is_deleting(pod):
            continue
        if pods.is_over(pod):
            found.over.append(pod)
        elif not _is_current(pod, template_hash) or _is_worn(pod):
            found.useless.append(pod)
        elif trouble(pod, now) is not None:
            found.failing.append(pod)
        elif not is_free(pod, template_hash):
            found.starting.append(pod)
    return found


def surplus(stock: Inventory, replicas: int, now: datetime) -> list[Object]:
    """The pods to delete: what is of no use, and of the others those that are missed least."""
    failed_long = [pod for pod in stock.failing if _left_s(pod, now) <= 0]
    by_worth = [
        *sorted(stock.failing, key=pods.created_at, reverse=True),
        *sorted(stock.starting, key=pods.created_at, reverse=True),
        *reversed(stock.free),
    ]
    too_many = by_worth[: max(0, stock.kept - replicas)]
    chosen = {pod["metadata"]["uid"]: pod for pod in (*stock.over, *stock.useless, *failed_long, *too_many)}
    return list(chosen.values())[:BATCH]


def look_again_in_s(stock: Inventory, now: datetime) -> float | None:
    """Seconds until a failing pod is given up, or one that starts is taken for failing."""
    left_s = [_left_s(pod, now) for pod in stock.failing]
    left_s += [_HANGS_AFTER_S - _unready_for_s(pod, now) for pod in stock.starting if pods.is_bound(pod)]
    return max(0.0, min(left_s)) if left_s else None


def lacking(stock: Inventory, replicas: int, *, proven: bool) -> int:
    """How many pods to create now. `proven`: a pod of this template was ready once."""
    missing = max(0, replicas - stock.kept)
    if proven and not stock.failing:
        return min(missing, BATCH)
    return min(missing, max(0, MOST_UNPROVEN - len(stock.failing) - len(stock.starting)))


def trouble(pod: Object, now: datetime) -> tuple[str, str] | None:
    """Why a pod does not get ready, if something keeps it: our reason, the kubelet's or the scheduler's words."""
    if pods.is_ready(pod):
        return None
    scheduled = pods.condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == _UNSCHEDULABLE:
        return _UNSCHEDULABLE, str(scheduled.get("message") or "The scheduler finds no node.")
    found = pods.trouble(pod)
    if found is not None:
        return found.reason, f"Container {found.container}: {found.message}"
    for name in (names.CONTAINER_INSTALL, names.CONTAINER_RUNNER, names.CONTAINER_AGENT):
        # Between two crashes it runs for a while: it is no less in trouble.
        last = pods.ended_before(pod, name)
        if last is not None and pods.restarts(pod, name) > 1:
            return (
                "ContainerCrashLooping",
                f"Container {name}: it last ended with {last.words}: {last.message}",
            )
    if pods.is_bound(pod) and _unready_for_s(pod, now) >= _HANGS_AFTER_S:
        name = pod["metadata"]["name"]
        return (
            _HANGS,
            f"Pod {name} has a node and is not ready after {_HANGS_AFTER_S:.0f} s; its events may say why.",
        )
    return None


def conditions(
    stock: Inventory,
    replicas: int,
    now: datetime,
    problem: tuple[str, str] | None,
    unreachable: tuple[str, str] | None = None,
) -> tuple[str, tuple[Condition, ...]]:
    """The phase, and the conditions. `problem`: why no pod could be created or kept lately; `unreachable`: why no
    session gets one.
    """
    ready = len(stock.free)
    if unreachable is not None:
        reason, words = unreachable
        return "Stalled", _of("Stalled", reason, f"Sessions get none of the {ready} warm pods. {words}")
    if ready >= replicas:
        return "Ready", _of("Ready", "PodsReady", f"{ready} warm pods are ready.")
    if problem is None and stock.failing:
        problem = trouble(min(stock.failing, key=pods.created_at), now)
    if problem is not None and not stock.starting:
        reason, words = problem
        return "Stalled", _of("Stalled", reason, f"{ready} of {replicas} warm pods are ready. {words}")
    message = f"{ready} of {replicas} warm pods are ready; others are starting."
    return "Scaling" if ready else "Pending", _of("Reconciling", "PodsStarting", message)


def _left_s(pod: Object, now: datetime) -> float:
    if not pods.is_bound(pod):
        return _REPLACE_AFTER_S  # it only waits for room: another one would wait no less
    found = trouble(pod, now)
    if found is not None and found[0] == _HANGS:
        return _HANGS_AFTER_S + _REPLACE_AFTER_S - _unready_for_s(pod, now)
    return _REPLACE_AFTER_S - (now - pods.created_at(pod)).total_seconds()


def _unready_for_s(pod: Object, now: datetime) -> float:
    turned = pods.latest(
        pods.created_at(pod), pods.changed_at(pod, "PodScheduled"), pods.changed_at(pod, "Ready")
    )
    return (now - turned).total_seconds()


def _of(true: str, reason: str, message: str) -> tuple[Condition, ...]:
    if true == "Ready":
        return (
            Condition("Ready", "True", reason, message),
            Condition("Reconciling", "False", "Settled"),
            Condition("Stalled", "False", "NotStalled"),
        )
    return (
        Condition("Ready", "False", reason, message),
        Condition(
            "Reconciling", *(("True", reason, message) if true == "Reconciling" else ("False", "Settled"))
        ),
        Condition("Stalled", *(("True", reason, message) if true == "Stalled" else ("False", "NotStalled"))),
    )


def is_free(pod: Object, template_hash: str) -> bool:
    """Whether a session can take the pod."""
    return (
        pods.is_ready(pod)
        and not pods.is_over(pod)
        and pods.endpoint(pod) is not None
        and _is_current(pod, template_hash)
        and not _is_worn(pod)
    )


def _is_worn(pod: Object) -> bool:
    return pods.is_ready(pod) and pods.restarts(pod, names.CONTAINER_AGENT) >= _WORN_RESTARTS


def _is_current(pod: Object, template_hash: str) -> bool:
    found: str = pod["metadata"].get("annotations", {}).get(names.ANNOTATION_TEMPLATE_HASH, "")
    return found == template_hash


def ready_since(pod: Object) -> tuple[datetime, str]:
    """The order in which pods are taken: the one that has been ready longest first."""
    return pods.changed_at(pod, "Ready") or pods.created_at(pod), pod["metadata"]["name"]
