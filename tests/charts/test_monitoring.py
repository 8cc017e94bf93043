"""Alerts and dashboards: promtool reads and tries them, and the services show every metric that they name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.apiserver import Apiserver
from tests.charts.exposed import NO_WORKSPACE, Labels, Services, services, shown
from tests.charts.manifests import CHARTS, Manifest, objects, pods, render
from tests.charts.prometheus import scraping
from tests.operator.process import OperatorProcess

FOLDER = Path(__file__).resolve().parent
FILES = CHARTS / "dspy-agent" / "files"
RULES: list[Manifest] = [
    rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARDS: dict[str, Any] = {
    path.stem: json.loads(path.read_text()) for path in sorted((FILES / "dashboards").glob("*.json"))
}
# What Prometheus adds to all that it scrapes in a cluster.
SCRAPED = {"namespace", "pod", "job", "instance"}

pytestmark = pytest.mark.timeout(180)


def promtool(*arguments: str) -> str:
    program = shutil.which("promtool")
    assert program is not None, "promtool is not installed: run `make setup`"
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=FOLDER
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expressions() -> dict[str, str]:
    """All that is asked of Prometheus, by where."""
    asked = {rule["alert"]: rule["expr"] for rule in RULES}
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                asked[f"{name}, {panel['title']}, {target['refId']}"] = target["expr"]
    return asked


def test_the_alerts_do_what_they_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml")


def test_every_alert_is_tried() -> None:
    tried = (FOLDER / "alerts_test.yaml").read_text()
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}"' not in tried] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda each: each["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: Manifest) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"]) > 80


def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"tried:{number}", "expr": re.sub(r"\$__rate_interval", "5m", expression)}
        for number, expression in enumerate(expressions().values())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with services(tmp_path_factory.mktemp("services")) as running:
        yield running


@pytest.fixture(scope="module")
def exposed(
    at_work: Services, apiserver: Apiserver, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Labels]:
    """What the services show after successes, failures of all sorts, a lost runner, and calls to a dead Slurm."""
    assert at_work.tasks("submit", "--wait", "--", "true").returncode == 0
    assert at_work.tasks("submit", "--wait", "--", "false").returncode == 1
    held = at_work.tasks("submit", "--delay", "1h", "--", "true")
    assert held.returncode == 0, held.stderr
    lost = ("--workspace", NO_WORKSPACE, "--max-attempts", "2")
    assert at_work.tasks("submit", "--wait", *lost, "--", "true").returncode != 0
    slurm = ("--backend", "slurm", "--max-attempts", "1", "--deadline", "5s")
    assert at_work.tasks("submit", "--wait", *slurm, "--", "true").returncode != 0
    lose_a_runner(at_work)
    return {**at_work.metrics(), **operator_metrics(apiserver, tmp_path_factory.mktemp("operator"))}


def lose_a_runner(at_work: Services) -> None:
    """A runner dies at its work, and the task's second attempt succeeds on the one that comes back."""
    task = at_work.tasks("submit", "--", "sleep", "3").stdout.strip()
    deadline = time.monotonic() + 30
    while json.loads(at_work.tasks("show", task, "-o", "json").stdout)["state"] != "Running":
        assert time.monotonic() < deadline, "the task does not start"
    at_work.runner.kill()
    at_work.runner.start()
    assert at_work.tasks("tail", task).returncode == 0


def operator_metrics(apiserver: Apiserver, folder: Path) -> dict[str, Labels]:
    """The operator's, after it has looked at a task."""
    namespace = "monitored"
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    task = {
        "apiVersion": "dspyagent.io/v1alpha1",
        "kind": "EnvTask",
        "metadata": {"name": "seen", "namespace": namespace},
        "spec": {"command": ["true"]},
    }
    for each in (made, task):
        done = apiserver.kubectl("create", "-f", "-", stdin=json.dumps(each))
        assert done.returncode == 0, done.stderr
    with OperatorProcess(apiserver.kubeconfig, namespace, folder) as operator:
        seen = apiserver.kubectl(
            "wait", "envtask/seen", f"-n{namespace}", "--for=condition=Reconciling", "--timeout=30s"
        )
        assert seen.returncode == 0, seen.stderr + operator.log()
        return shown(operator.get("/metrics").text)


@pytest.mark.parametrize(("where", "expression"), expressions().items(), ids=expressions().keys())
def test_every_metric_is_shown_with_its_labels(
    where: str, expression: str, exposed: dict[str, Labels]
) -> None:
    selectors = re.findall(r"(dspy_\w+)(?:\{([^}]*)\})?", expression)
    assert selectors
    labels = {label for name, _ in selectors for label in exposed.get(name, ())} | SCRAPED | {"le"}
    for name, matchers in selectors:
        assert name in exposed, f"no service shows {name}"
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|=|!=)", matchers)) <= labels
    grouped = ", ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", expression))
    assert set(re.findall(r"\w+", grouped)) <= labels, where


@pytest.mark.usefixtures("exposed")
def test_no_panel_of_a_service_at_work_is_empty(at_work: Services, tmp_path: Path) -> None:
    """The queries as Grafana sends them, to a Prometheus that scrapes the services; the operator's need a cluster."""
    targets = {"reddb-0": at_work.reddb, "runner-0": at_work.runner, "orchestrator-0": at_work.orchestrator}
    chosen = {"$namespace": ".*", "$__rate_interval": "1m"}
    with scraping(tmp_path, targets) as prometheus:
        empty = [
            where
            for where, expression in expressions().items()
            if where.startswith(("orchestrator, ", "reddb, ", "runners, "))
            and not prometheus.query(replaced([expression], chosen)[0])
        ]
    assert empty == []


def test_the_targetsof_helm_test_do_their_work(at_work: Services, tmp_path: Path) -> None:
    """Their very command lines, with the addresses and the token that these services have here."""
    (tmp_path / "token").write_text("orchestrator-test-token")
    here = {
        "http://dspy-agent-orchestrator.dspy-agent.svc:9097": at_work.orchestrator.url,
        "http://dspy-agent-operator.dspy-agent.svc:8081": at_work.runner.url,  # any that has a /readyz
        "http://reddb.dspy-agent.svc:8082": at_work.reddb.url,
        "/dspy/token/token": str(tmp_path / "token"),
    }
    found = {pod["name"]: pod["spec"]["containers"][0] for pod in pods(objects(render()))}
    assert found.keys() == {"dspy-agent-test-services", "dspy-agent-test-task"}
    arguments = replaced(found["dspy-agent-test-task"]["args"], here)
    done = at_work.tasks(*arguments[1:])
    assert (done.returncode, done.stdout) == (0, "a command went through the queue and back\n"), done.stderr
    command = replaced(found["dspy-agent-test-services"]["command"], here)
    asked = subprocess.run(["python3", *command[1:]], capture_output=True, text=True, timeout=60, check=False)
    assert (asked.returncode, asked.stdout.count(" 200\n")) == (0, 3), asked.stderr


def replaced(words: list[str], pairs: dict[str, str]) -> list[str]:
    for old, new in pairs.items():
        words = [word.replace(old, new) for word in words]
    return words


def monitored(*settings: str) -> list[Manifest]:
    return objects(render(*(f"--set=monitoring.{each}.enabled=true" for each in settings)))


def test_the_service_monitor_finds_each_service_once() -> None:
    rendered = monitored("serviceMonitor")
    (monitor,) = [each for each in rendered if each["kind"] == "ServiceMonitor"]
    wanted: dict[str, str] = monitor["spec"]["selector"]["matchLabels"]
    (excluded,) = monitor["spec"]["selector"]["matchExpressions"]
    (endpoint,) = monitor["spec"]["endpoints"]
    found = [
        each["metadata"]["name"]
        for each in rendered
        if each["kind"] == "Service"
        and wanted.items() <= each["metadata"]["labels"].items()
        and each["metadata"]["labels"].get(excluded["key"]) not in excluded["values"]
        and endpoint["port"] in {port["name"] for port in each["spec"]["ports"]}
    ]
    assert sorted(found) == [
        "dspy-agent-operator", "dspy-agent-orchestrator", "dspy-agent-runners", "reddb",
    ]  # fmt: skip


def test_the_chart_passes_rules_and_dashboards_on_as_they_are() -> None:
    rendered = monitored("prometheusRule", "dashboards")
    (rule,) = [each for each in rendered if each["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((FILES / "alerts.yaml").read_text())
    found = {
        Path(name).stem: json.loads(text)
        for each in rendered
        if each["kind"] == "ConfigMap"
        for name, text in each["data"].items()
    }
    assert found == DASHBOARDS


def test_nothing_needs_the_prometheus_operator_unless_asked() -> None:
    assert not {each["kind"] for each in monitored()} & {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
