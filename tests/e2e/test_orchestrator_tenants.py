"""The orchestrator takes the cluster's own tokens, and its roles say whose tasks a token may send and see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.e2e.kube import Kube, KubectlError, Manifest
from tests.e2e.marks import in_cluster
from tests.e2e.orchestrator import Orchestrator, Patience, orchestrator_of

pytestmark = in_cluster(120)

AUDIENCE = "dspy-orchestrator"
TEAMS = ("tasks-red", "tasks-blue")
SENDER, STRANGER = "sender", "stranger"

Login = Callable[..., Orchestrator]


def team(namespace: str) -> list[Manifest]:
    """An account that may run tasks in a namespace, and one that may not."""
    rbac = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["dspyagent.io"], "resources": ["envtasks"], "verbs": ["create", "get"]}
    return [
        *(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
            for name in (SENDER, STRANGER)
        ),
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": {"name": SENDER}, "rules": [rule]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": SENDER},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": SENDER},
            "subjects": [{"kind": "ServiceAccount", "name": SENDER, "namespace": namespace}],
        },
    ]


@pytest.fixture(scope="module")
def login(release: Kube) -> Iterator[Login]:
    """Makes clients with tokens that the cluster gives to service accounts."""
    for namespace in TEAMS:
        there = Kube(release.kubeconfig, namespace)
        there.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        there.apply(*team(namespace))
        wait_for_right(there)
    with ExitStack() as clients:

        def client(namespace: str, account: str, audience: str = AUDIENCE) -> Orchestrator:
            there = Kube(release.kubeconfig, namespace)
            token = there.run("create", "token", account, f"--audience={audience}", "--duration=10m").strip()
            return clients.enter_context(orchestrator_of(release, token))

        yield client


def wait_for_right(there: Kube) -> None:
    """Until the apiserver knows of the role: an orchestrator that hears a no remembers it for some seconds."""
    patience = Patience(f"the rights of {there.namespace}'s sender")
    while True:
        try:
            sender = f"--as=system:serviceaccount:{there.namespace}:{SENDER}"
            there.run("auth", "can-i", "create", "envtasks.dspyagent.io", sender)
        except KubectlError as error:
            patience.use(str(error))
        else:
            return


def test_an_account_with_the_right_has_the_tasks_of_its_namespace(login: Login) -> None:
    red, blue = (login(namespace, SENDER) for namespace in TEAMS)
    task = red.submit(argv=["echo", "hello"])
    done = red.ended(task)
    assert (done["state"], done["tenant"], done["result"]["stdout"]) == ("Succeeded", TEAMS[0], "hello\n")
    other = blue.submit(argv=["true"])
    assert {each["id"] for each in red.list()} >= {task}
    assert {each["tenant"] for each in red.list()} == {TEAMS[0]}
    assert {each["tenant"] for each in blue.list()} == {TEAMS[1]}
    assert {each["name"] for each in red.get("/v1/queue").json()["tenants"]} <= {TEAMS[0]}
    for hidden in (red.get(f"/v1/tasks/{other}"), red.post(f"/v1/tasks/{other}/cancel")):
        assert (hidden.status_code, hidden.json()["error"]["code"]) == (404, "TaskNotFound")
    for asked in (
        red.get("/v1/tasks", tenant=TEAMS[1]),
        red.post("/v1/tasks", {"noop": True, "tenant": TEAMS[1]}),
    ):
        assert_forbidden(asked)


def test_an_account_without_the_right_is_told_so(login: Login) -> None:
    stranger = login(TEAMS[0], STRANGER)
    assert_forbidden(stranger.post("/v1/tasks", {"argv": ["true"]}))
    assert_forbidden(stranger.get("/v1/tasks"))


def test_a_token_that_was_made_for_others_is_not_taken(login: Login) -> None:
    answer = login(TEAMS[0], SENDER, audience="somebody-else").get("/v1/tasks")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "Unauthorized")


def test_the_charts_token_is_an_admins(release: Kube, login: Login) -> None:
    task = login(TEAMS[0], SENDER).submit(noop=True)
    with orchestrator_of(release) as admin:
        assert admin.ended(task)["tenant"] == TEAMS[0]


def assert_forbidden(answer: httpx.Response) -> None:
    assert answer.status_code == httpx.codes.FORBIDDEN, answer.text
    error = answer.json()["error"]
    assert error["code"] == "Forbidden"
    assert "may not do this with that tenant's tasks" in error["message"]
