"""What NetworkPolicies say, as a network plugin reads them: who may connect to whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.charts.manifests import Manifest

NAMESPACE_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Pod:
    """One end of a connection. `ports` has the numbers of its named ports."""

    namespace: str
    labels: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)


def allows(policies: Iterable[Manifest], source: Pod, target: Pod, port: int) -> bool:
    """Whether `source` may open a connection to `port` of `target`: out of the one, and into the other."""
    said = list(policies)
    outgoing = _rules(said, "Egress", source)
    incoming = _rules(said, "Ingress", target)
    return (
        outgoing is None
        or any(_names_port(each, target, port) and _names(each.get("to"), source, target) for each in outgoing)
    ) and (
        incoming is None
        or any(_names_port(each, target, port) and _names(each.get("from"), target, source) for each in incoming)
    )  # fmt: skip


def _rules(policies: list[Manifest], direction: str, pod: Pod) -> list[Manifest] | None:
    """All rules for the pod, of which one is enough; None where no policy is about this direction of it."""
    selecting = [
        each["spec"]
        for each in policies
        if each["metadata"]["namespace"] == pod.namespace
        and _selects(each["spec"]["podSelector"], pod.labels)
        and direction in each["spec"]["policyTypes"]
    ]
    return [rule for spec in selecting for rule in spec.get(direction.lower(), [])] if selecting else None


def _names_port(rule: Manifest, listener: Pod, port: int) -> bool:
    if "ports" not in rule:
        return True
    return any(
        listener.ports.get(each["port"], each["port"]) == port
        for each in rule["ports"]
        if each.get("protocol", "TCP") == "TCP"
    )


def _names(peers: list[Manifest] | None, owner: Pod, pod: Pod) -> bool:
    """Whether a rule for `owner` is about `pod`. ipBlock names none: it is for what is outside the cluster."""
    if not peers:
        return peers is None
    own = {"matchLabels": {NAMESPACE_NAME: owner.namespace}}
    labels = {NAMESPACE_NAME: pod.namespace, **pod.namespace_labels}
    return any(
        _selects(each.get("namespaceSelector", own), labels)
        and _selects(each.get("podSelector", {}), pod.labels)
        for each in peers
        if "ipBlock" not in each
    )


def _selects(selector: Manifest, labels: dict[str, str]) -> bool:
    exact: dict[str, str] = selector.get("matchLabels", {})
    expressions: list[dict[str, Any]] = selector.get("matchExpressions", [])
    assert all(each["operator"] == "In" for each in expressions), "this reader knows no other"
    return all(labels.get(name) == value for name, value in exact.items()) and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )
