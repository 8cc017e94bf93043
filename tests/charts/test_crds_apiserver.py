"""The schemas at work in a real apiserver: what they let in, what they refuse and in which words."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.charts.apiserver import Apiserver
from tests.charts.manifests import PLURALS
from tests.charts.specs import ACCEPTED, FIXED_FIELDS, MINIMAL, REFUSED, REFUSED_NAMES

GROUP = "/apis/dspyagent.io/v1alpha1/namespaces/default"


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "dspyagent.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def create(server: Apiserver, kind: str, name: str, spec: dict[str, Any], *, keep: bool) -> httpx.Response:
    query = {"fieldValidation": "Strict"} if keep else {"fieldValidation": "Strict", "dryRun": "All"}
    return server.http.post(f"{GROUP}/{PLURALS[kind]}", params=query, json=manifest(kind, name, spec))


def change(
    server: Apiserver, kind: str, name: str, body: dict[str, Any], subresource: str = ""
) -> httpx.Response:
    return server.http.patch(
        f"{GROUP}/{PLURALS[kind]}/{name}{subresource}",
        json=body,
        headers={"Content-Type": "application/merge-patch+json"},
    )


@pytest.mark.parametrize(("kind", "spec"), ACCEPTED)
def test_a_good_spec_is_accepted(apiserver: Apiserver, kind: str, spec: dict[str, Any]) -> None:
    answer = create(apiserver, kind, "good", spec, keep=False)
    assert answer.status_code == 201, answer.json()["message"]


@pytest.mark.parametrize(("kind", "spec", "complaint"), REFUSED)
def test_a_bad_spec_is_refused_in_words_that_help(
    apiserver: Apiserver, kind: str, spec: dict[str, Any], complaint: str
) -> None:
    answer = create(apiserver, kind, "bad", spec, keep=False)
    assert answer.status_code in (400, 422), answer.text
    assert complaint in answer.json()["message"]


@pytest.mark.parametrize(("kind", "name"), REFUSED_NAMES)
def test_a_name_that_cannot_become_a_pods_is_refused(apiserver: Apiserver, kind: str, name: str) -> None:
    answer = create(apiserver, kind, name, MINIMAL[kind], keep=False)
    assert answer.status_code == 422, answer.text
    assert "the name must be a DNS label of at most" in answer.json()["message"]


@pytest.mark.parametrize(("kind", "field", "value"), FIXED_FIELDS)
def test_a_fixed_field_can_neither_change_nor_appear(
    apiserver: Apiserver, kind: str, field: str, value: Any
) -> None:
    name = f"fixed-{field.lower()}"
    assert create(apiserver, kind, name, MINIMAL[kind], keep=True).status_code == 201
    answer = change(apiserver, kind, name, {"spec": {field: value}})
    assert answer.status_code == 422, answer.text
    assert f"{field} cannot be changed: create a new {kind} instead" in answer.json()["message"]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("AgentSession", {"operatingMode": "Suspended"}),
        (
            "AgentSession",
            {"lifecycle": {"ttlSecondsAfterFinished": 5}, "budget": {"turns": 3}, "approval": "Edits"},
        ),
        ("AgentPool", {"replicas": 0, "template": {"image": "python:3.13"}}),
        ("EnvTask", {"suspend": True, "parallelism": 4, "ttlSecondsAfterFinished": 60}),
        ("TrainingJob", {"suspend": True, "budget": {"steps": 10}, "activeDeadlineSeconds": 60}),
    ],
)
def test_what_may_change_can_be_changed(apiserver: Apiserver, kind: str, spec: dict[str, Any]) -> None:
    name = f"changed-{min(spec).lower()}"
    assert create(apiserver, kind, name, MINIMAL[kind], keep=True).status_code == 201
    answer = change(apiserver, kind, name, {"spec": spec})
    assert answer.status_code == 200, answer.text


def test_defaults_are_filled_in(apiserver: Apiserver) -> None:
    session = create(apiserver, "AgentSession", "defaults", {}, keep=False).json()["spec"]
    assert session == {
        "approval": "Never",
        "budget": {"seconds": 3600},
        "lifecycle": {"readyDeadlineSeconds": 600},
        "operatingMode": "Running",
        "pooling": "Prefer",
        "storage": "Shared",
    }
    task = create(apiserver, "EnvTask", "defaults", MINIMAL["EnvTask"], keep=False).json()["spec"]
    assert (task["execution"], task["timeoutSeconds"], task["output"]) == ("Pod", 600, {"maxTailBytes": 2048})


COLUMNS = {
    "agentsessions": "NAME READY REASON MODE LAUNCH OUTCOME AGE POD NODE TURNS POLICY",
    "agentpools": "NAME DESIRED READY CLAIMED PENDING REASON AGE IMAGE RUNNER-ONLY",
    "envtasks": "NAME STATUS REASON EXIT DURATION AGE SUCCEEDED COMPLETIONS ATTEMPTS CLASS POD",
    "trainingjobs": "NAME STATUS REASON BACKEND STEP PERCENT CHECKPOINT AGE ALGORITHM JOB-STATE SLURM-ID ATTEMPTS",
}


@pytest.mark.parametrize(("kind", "plural"), sorted(PLURALS.items()))
def test_columns(apiserver: Apiserver, kind: str, plural: str) -> None:
    assert create(apiserver, kind, "columns", MINIMAL[kind], keep=True).status_code == 201
    printed = apiserver.kubectl("get", plural, "columns", "-o", "wide").stdout
    assert printed.splitlines()[0].split() == COLUMNS[plural].split()


@pytest.mark.parametrize(("kind", "plural"), [("EnvTask", "envtasks"), ("TrainingJob", "trainingjobs")])
def test_the_condition_that_is_true_gives_the_reason(apiserver: Apiserver, kind: str, plural: str) -> None:
    assert create(apiserver, kind, "waits", MINIMAL[kind], keep=True).status_code == 201
    at = {"lastTransitionTime": "2030-01-31T18:00:00Z"}
    conditions = [
        {"type": "Complete", "status": "False", "reason": "NotComplete", "message": "", **at},
        {"type": "Stalled", "status": "True", "reason": "ImagePullFailed", "message": "not there", **at},
    ]
    status = {"phase": "Stalled", "conditions": conditions}
    assert change(apiserver, kind, "waits", {"status": status}, "/status").status_code == 200
    printed = apiserver.kubectl("get", plural, "waits").stdout
    assert printed.splitlines()[1].split()[:3] == ["waits", "Stalled", "ImagePullFailed"]


def test_a_finished_session_reads_at_a_glance(apiserver: Apiserver) -> None:
    assert create(apiserver, "AgentSession", "glance", MINIMAL["AgentSession"], keep=True).status_code == 201
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "Finished",
        "message": "The check passes.",
        "lastTransitionTime": "2030-01-31T18:00:00Z",
    }
    result = {"outcome": "Solved", "reason": "CheckPassed", "turns": 41, "seconds": 12.5}
    status = {
        "conditions": [ready],
        "launchType": "Cold",
        "podName": "glance",
        "policy": "Search",
        "result": result,
    }
    answer = change(apiserver, "AgentSession", "glance", {"status": status}, "/status")
    assert answer.status_code == 200, answer.text
    row = apiserver.kubectl("get", "ags", "glance", "-o", "wide", "--no-headers").stdout.split()
    assert row[:6] == ["glance", "False", "Finished", "Running", "Cold", "Solved"]
    assert row[7:] == ["glance", "41", "Search"]  # the node is unknown, and an empty column


def test_the_category_lists_every_kind(apiserver: Apiserver) -> None:
    listed = apiserver.kubectl("api-resources", "--categories=dspy", "--no-headers").stdout
    assert sorted(line.split()[:2] for line in listed.splitlines()) == [
        ["agentpools", "agp"],
        ["agentsessions", "ags"],
        ["envtasks", "envt"],
        ["trainingjobs", "tjob"],
    ]


def test_a_pool_can_be_scaled(apiserver: Apiserver) -> None:
    assert create(apiserver, "AgentPool", "scaled", MINIMAL["AgentPool"], keep=True).status_code == 201
    done = apiserver.kubectl("scale", "agentpool/scaled", "--replicas=3")
    assert done.returncode == 0, done.stderr
    pool = apiserver.http.get(f"{GROUP}/agentpools/scaled").json()
    assert pool["spec"]["replicas"] == 3


def test_a_write_to_the_object_does_not_touch_its_status(apiserver: Apiserver) -> None:
    assert create(apiserver, "EnvTask", "split", MINIMAL["EnvTask"], keep=True).status_code == 201
    assert "status" not in change(apiserver, "EnvTask", "split", {"status": {"exitCode": 1}}).json()


def test_explain_reads_like_documentation(apiserver: Apiserver) -> None:
    explained = apiserver.kubectl("explain", "agentsession.spec.workspace.git.url").stdout
    assert "Address of the repository: https, http, git or ssh." in explained


def test_status_is_applied_without_a_spec_and_conditions_merge_by_type(apiserver: Apiserver) -> None:
    """As the operator writes it. Two owners of `conditions` keep their own entries: what list-type map is for."""
    stored = create(apiserver, "EnvTask", "merged", MINIMAL["EnvTask"], keep=True).json()
    fixed = {"status": "True", "reason": "Test", "message": "", "lastTransitionTime": "2030-01-31T18:00:00Z"}
    for owner, condition in (("one", "Complete"), ("two", "Reconciling")):
        body = {name: stored[name] for name in ("apiVersion", "kind")}
        answer = apiserver.http.patch(
            f"{GROUP}/envtasks/merged/status",
            params={"fieldManager": owner},
            json={
                **body,
                "metadata": {"name": "merged", "uid": stored["metadata"]["uid"]},
                "status": {"phase": "Running", "conditions": [{"type": condition, **fixed}]},
            },
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        assert answer.is_success, answer.text
    assert [each["type"] for each in answer.json()["status"]["conditions"]] == ["Complete", "Reconciling"]
