"""No variable that a user brings along decides what the runner's sandbox does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dspy_operator.desired.envtask_pod import envtask_pod
from dspy_operator.desired.quantity import quantity
from dspy_operator.desired.runner_env import of_serve
from dspy_operator.desired.session_pod import session_pod
from dspy_operator.desired.warm_pod import warm_pod
from dspy_operator.store import Object

from tests.operator import builders

RUNNER = Path(__file__).parents[2] / "env-runner-rs" / "src"
SETUP = {"setup": {"command": ["true"]}}


def variables(source: str) -> set[str]:
    return set(re.findall(r'"(RUNNER_[A-Z_]+)"', source))


def known() -> dict[str, set[str]]:
    """The variables that each subcommand reads, by its source."""
    shared, separator, serve = (RUNNER / "config.rs").read_text().partition("pub struct ServeArgs")
    assert separator
    everything = {name for path in RUNNER.rglob("*.rs") for name in variables(path.read_text())}
    run = variables(shared) | variables((RUNNER / "oneshot.rs").read_text())
    served = variables(shared) | variables(serve) | variables((RUNNER / "telemetry.rs").read_text())
    assert run | served == everything - {"RUNNER_"}, (
        "a source file that this test does not know reads a variable"
    )
    return {"run": run, "serve": served}


def containers(tmp_path: Path) -> list[Object]:
    settings = builders.settings(tmp_path / "token")
    hostile = {"envFrom": [{"secretRef": {"name": "s"}}], "env": [{"name": "A", "value": "1"}]}
    session = session_pod(builders.owner("fix", **hostile), {}, settings, b"m", attempt=1)
    task = envtask_pod(builders.owner("run", command=["true"], workspace=SETUP, **hostile), settings, b"m", 1)
    warm = warm_pod(builders.owner("pool"), settings, b"m", "pool-1")["spec"]["initContainers"][1]
    every = [
        each
        for pod in (session, task)
        for each in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])
        if "envFrom" in each
    ]
    assert [each["name"] for each in every] == ["runner", "setup", "task"]
    return [*every, warm]


def test_every_setting_of_the_runner_is_a_flag_or_pinned(tmp_path: Path) -> None:
    for container in containers(tmp_path):
        subcommand = container["command"][1]
        flags = {word for word in container["command"] if word.startswith("--")}
        pinned = {variable["name"] for variable in container["env"]}
        loose = {
            name
            for name in known()[subcommand]
            if name not in pinned
            and f"--{name.removeprefix('RUNNER_').lower().replace('_', '-')}" not in flags
        }
        assert loose == set(), container["name"]


def test_what_the_runner_requires_by_itself_is_required_in_pods(tmp_path: Path) -> None:
    rungs = dict(re.findall(r'pub const (\w+): &str = "(\w+)"', (RUNNER / "sandbox" / "mod.rs").read_text()))
    default = re.search(r"const REQUIRED: [^=]*= \[(.*?)\];", (RUNNER / "config.rs").read_text())
    assert default is not None
    wanted = {rungs[name] for name in re.findall(r"rung::(\w+)", default[1])}
    for container in containers(tmp_path):
        pinned = next(each["value"] for each in container["env"] if each["name"] == "RUNNER_REQUIRE")
        assert set(pinned.split(",")) == wanted


def test_the_users_own_variables_come_first(tmp_path: Path) -> None:
    for container in containers(tmp_path)[:-1]:  # a warm one has no user yet
        names = [variable["name"] for variable in container["env"]]
        assert names[0] == "A"
        ours = [name for name in names[1:] if name != "JOB_COMPLETION_INDEX"]
        assert all(name.startswith("RUNNER_") for name in ours)


@pytest.mark.parametrize(
    ("limits", "memory", "concurrency"),
    [
        ({"memory": "1Gi", "cpu": "500m"}, "966367638", "2"),
        ({"memory": 1000, "cpu": 4}, "900", "8"),
        ({"memory": "1e30", "cpu": "9E"}, str(2**62 // 10 * 9), "256"),
        ({"memory": "0", "cpu": "0"}, None, "256"),
        ({}, None, "256"),
    ],
)
def test_what_follows_from_the_containers_limits(
    limits: Object, memory: str | None, concurrency: str
) -> None:
    made = {variable["name"]: variable for variable in of_serve({"limits": limits})}
    assert made["RUNNER_MAX_CONCURRENT"]["value"] == concurrency
    if memory is None:
        assert made["RUNNER_MAX_MEMORY_BYTES"]["valueFrom"]["resourceFieldRef"]["resource"] == "limits.memory"
    else:
        assert made["RUNNER_MAX_MEMORY_BYTES"]["value"] == memory


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("250m", 0.25),
        ("1.5Gi", 1.5 * 2**30),
        ("2k", 2000),
        ("3E", 3e18),
        ("3E2", 300),
        ("3Ei", 3 * 2.0**60),
        (7, 7),
        (-7, -7),
        ("1e99999", float("inf")),
    ],
)
def test_quantities(text: str | int, value: float) -> None:
    assert quantity(text) == pytest.approx(value)


def test_what_is_no_quantity() -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity("much")
