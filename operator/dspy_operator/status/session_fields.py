"""The fields of an AgentSession's status beside its conditions. Pure: the time is an argument."""

from __future__ import annotations

from datetime import datetime

from dspy_operator.status.conditions import timestamp
from dspy_operator.status.session_view import Finish, View
from dspy_operator.store import Object

_OF_POD = ("podName", "nodeName", "attempts", "launchType", "launchReason")
_KEPT = ("startTime", "readyTime", "finishTime", "suspensions", "forgivenPods")
_POLICIES = {"search": "Search", "llm": "LLM", "trainingJobRef": "Trained"}


def status_fields(session: Object, view: View, now: datetime) -> Object:
    """The status fields beside conditions: times stay as first written, absent fields stay absent."""
    stored = session["status"]
    # Without a pod the last one stays named, for whoever looks for its logs; nothing of it is said of the next one.
    of_pod = view.fields or {name: stored[name] for name in _OF_POD if name in stored}
    made: Object = {
        "phase": view.phase,
        "observedGeneration": session["metadata"]["generation"],
        **_policy(session),
        **{name: stored[name] for name in _KEPT if name in stored},
        **of_pod,
    }
    if "podName" in made:
        made.setdefault("startTime", timestamp(now))
    if view.is_ready:
        made.setdefault("readyTime", timestamp(now))
    if view.finish is not None:
        made.setdefault("finishTime", timestamp(now))
        if view.finish.outcome is not None:
            made["result"] = _result(view.finish)
    return made


def _policy(session: Object) -> Object:
    """The policy in effect: a task without one is worked on by policy.search; without a task nothing decides."""
    spec = session["spec"]
    default = "search" if "task" in spec else None
    named = next(iter(spec.get("policy", {})), default)
    return {} if named is None else {"policy": _POLICIES[named]}


def _result(finish: Finish) -> Object:
    result: Object = {"outcome": finish.outcome, "reason": finish.reason, "summary": finish.message}
    report = finish.report
    if report is None:
        return result
    optional = {"checkExitCode": report.check_exit_code, "patchRef": report.patch_ref}
    result.update({name: value for name, value in optional.items() if value is not None})
    return {**result, "turns": report.turns, "tokens": report.tokens, "seconds": report.seconds}
