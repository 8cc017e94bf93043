"""A pod's status as facts: what the kubelet and the scheduler said, in their words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dspy_operator import names
from dspy_operator.desired.session_pod import AGENT_PORT
from dspy_operator.status.conditions import parse_time
from dspy_operator.store import Object, has_ended

# The kubelet keeps trying on its own after each of these; a person has to change something for it to succeed.
_CONFIG_TROUBLE = {
    "ErrImagePull": "ImagePullFailed",
    "ImagePullBackOff": "ImagePullFailed",
    "ErrImageNeverPull": "ImagePullFailed",
    "InvalidImageName": "ImagePullFailed",
    "CreateContainerConfigError": "ContainerConfigInvalid",
    "CreateContainerError": "ContainerCannotStart",
    "RunContainerError": "ContainerCannotStart",
    "CrashLoopBackOff": "ContainerCrashLooping",
}
# The container's process was not executed: the runtime could not make or start it.
_NEVER_STARTED = frozenset({"StartError", "ContainerCannotRun"})
# The kubelet's words for a container without a state when it ended the pod; it has others for one that was running.
_NEVER_FOUND = "could not be located when the pod was terminated"
# The pod garbage collector's reason for a pod whose node is gone from the cluster: the kubelet was not asked.
_NODE_REMOVED = "DeletionByPodGC"


@dataclass(frozen=True)
class Termination:
    """How a container ended."""

    exit_code: int
    reason: str
    message: str

    @property
    def words(self) -> str:
        """`OOMKilled (exit code 137)`."""
        return f"{self.reason or 'Error'} (exit code {self.exit_code})"


@dataclass(frozen=True)
class Trouble:
    """Why a container does not run: our reason, the kubelet's words."""

    container: str
    reason: str
    message: str


def attempt_of(pod: Object) -> int:
    """Which of its owner's pods this is, from 1. A pod without our annotation counts as the first."""
    text = str((pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_ATTEMPT, ""))
    return int(text) if text.isdecimal() else 1


def index_of(pod: Object) -> int:
    """Which run of its task this pod makes, from 0."""
    text = str((pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_INDEX, ""))
    return int(text) if text.isdecimal() else 0


def created_at(pod: Object) -> datetime:
    """When the apiserver stored the pod."""
    return parse_time(pod["metadata"]["creationTimestamp"])


def is_deleting(pod: Object) -> bool:
    """Whether the pod was asked to go."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def deleted_at(pod: Object) -> datetime | None:
    """When the pod is to be gone, its grace period included, if it was asked to go."""
    return parse_time(pod["metadata"]["deletionTimestamp"]) if is_deleting(pod) else None


def is_bound(pod: Object) -> bool:
    """Whether a node was found for the pod, so that a kubelet may act on it."""
    return bool(pod["spec"].get("nodeName"))


def is_over(pod: Object) -> bool:
    """Whether the pod as a whole has ended. A kubelet says so before it lets a deleted pod go."""
    return has_ended(pod)


def is_ready(pod: Object) -> bool:
    """Whether the kubelet finds all its containers ready, and nobody has asked it to go."""
    return condition(pod, "Ready").get("status") == "True" and not is_deleting(pod)


def endpoint(pod: Object) -> str | None:
    """The base URL of the pod's agent, once the pod has an address."""
    address = pod["status"].get("podIP")
    if not address:
        return None
    return f"http://[{address}]:{AGENT_PORT}" if ":" in address else f"http://{address}:{AGENT_PORT}"


def phase(pod: Object) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str(pod["status"].get("phase", "Pending"))


def condition(pod: Object, kind: str) -> Object:
    """The pod's condition of that type, or an empty one."""
    for each in pod["status"].get("conditions") or ():
        if each["type"] == kind:
            found: Object = each
            return found
    return {}


def changed_at(pod: Object, kind: str) -> datetime | None:
    """When the pod's condition of that type last changed its status."""
    time = condition(pod, kind).get("lastTransitionTime")
    return parse_time(time) if time else None


def latest(first: datetime, *others: datetime | None) -> datetime:
    """The last of several moments, of which some may not have come."""
    return max([first, *(other for other in others if other is not None)])


def last_transition(pod: Object) -> datetime | None:
    """When a condition of the pod last changed: the nearest thing to an end that a failed pod tells."""
    times = (each.get("lastTransitionTime") for each in pod["status"].get("conditions") or ())
    return max((parse_time(time) for time in times if time), default=None)


def container(pod: Object, name: str) -> Object:
    """The status of a container, init or not; empty before the kubelet has spoken."""
    for status in _containers(pod):
        if status["name"] == name:
            return status
    return {}


def ended(pod: Object, name: str) -> Termination | None:
    """How a container ended, if it is not running now."""
    return _termination(container(pod, name).get("state"))


def ended_at(pod: Object, name: str) -> datetime | None:
    """When a container ended, if it is not running now."""
    terminated = (container(pod, name).get("state") or {}).get("terminated") or {}
    return parse_time(terminated["finishedAt"]) if terminated.get("finishedAt") else None


def running_since(pod: Object, name: str) -> datetime | None:
    """When a container started, if it is running now."""
    running = (container(pod, name).get("state") or {}).get("running") or {}
    return parse_time(running["startedAt"]) if running.get("startedAt") else None


def ended_before(pod: Object, name: str) -> Termination | None:
    """How a container's previous run ended, if it was started again."""
    return _termination(container(pod, name).get("lastState"))


def may_have_run(pod: Object, name: str) -> bool:
    """Whether a container can have begun: False only where the pod's status shows that it did not.

    The kubelet writes a container's status as soon as the pod is initialised; before that nothing of ours has begun,
    and a kubelet that refuses a pod at admission writes none. When it ends a pod it calls a container that it never
    created lost, too, but can name no id for it. Of a node that was removed nobody knows what its kubelet did last.
    """
    if condition(pod, "DisruptionTarget").get("reason") == _NODE_REMOVED:
        return is_bound(pod)
    status = container(pod, name)
    if not status:
        return is_bound(pod) and condition(pod, "Initialized").get("status") == "True"
    last = _termination(status.get("state"))
    if last is None:
        return (
            running_since(pod, name) is not None or status.get("lastState", {}).get("terminated") is not None
        )
    if last.reason == "ContainerStatusUnknown":
        return bool(status.get("containerID")) or _NEVER_FOUND not in last.message
    return last.reason not in _NEVER_STARTED


def restarts(pod: Object, name: str) -> int:
    """How often the kubelet started a container again."""
    return int(container(pod, name).get("restartCount", 0))


def trouble(pod: Object) -> Trouble | None:
    """The first container that cannot run, init containers first."""
    for status in _containers(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason = _CONFIG_TROUBLE.get(waiting.get("reason", ""))
        if reason is None:
            continue
        message = waiting.get("message") or waiting["reason"]
        last = _termination(status.get("lastState"))
        if last is not None:
            message = f"{message}; it last ended with {last.words}" + (
                f": {last.message}" if last.message else ""
            )
        return Trouble(status["name"], reason, message)
    return None


def loss(pod: Object) -> str:
    """Why a pod that failed as a whole did: eviction, preemption, node shutdown, in Kubernetes' words."""
    status = pod["status"]
    disruption = condition(pod, "DisruptionTarget")
    said = [status.get("reason"), status.get("message"), disruption.get("message")]
    return ": ".join(str(part) for part in said if part) or "the pod failed"


def _containers(pod: Object) -> Iterator[Object]:
    for field in ("initContainerStatuses", "containerStatuses"):
        yield from pod["status"].get(field) or ()


def _termination(state: Object | None) -> Termination | None:
    terminated = (state or {}).get("terminated")
    if terminated is None:
        return None
    return Termination(
        int(terminated.get("exitCode", 0)),
        str(terminated.get("reason") or ""),
        str(terminated.get("message") or ""),
    )
