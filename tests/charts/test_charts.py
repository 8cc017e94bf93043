"""The charts as Helm renders them: golden files, refused values, and what must hold for every object."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dspy_operator.settings import load

from tests.charts.manifests import CHARTS, ROOT, Manifest, helm, objects, pod_templates, render

FOLDER = Path(__file__).resolve().parent
GOLDEN = FOLDER / "golden"
OVERRIDES = FOLDER / "overrides.yaml"
VARIANTS = {"defaults": [], "overrides": ["--values", str(OVERRIDES)]}


@pytest.mark.parametrize("chart", ["dspy-agent", "dspy-agent-crds"])
def test_lint(chart: str) -> None:
    done = helm("lint", "--strict", str(CHARTS / chart))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_rendered_as_committed(variant: str) -> None:
    """A change shows in review as YAML."""
    assert golden(render(*VARIANTS[variant])) == (GOLDEN / f"{variant}.yaml").read_text(), (
        "run `python -m tests.charts.regenerate` and read the difference"
    )


def golden(rendered: str) -> str:
    """Generated tokens differ at each rendering, and dashboards are files of their own."""
    same = re.sub(r"^  token: \S{64}$", "  token: GENERATED", rendered, flags=re.MULTILINE)
    return re.sub(r"^(  \w+\.json): \|\n(    .*\n)+", r"\1: DASHBOARD\n", same, flags=re.MULTILINE)


def test_generated_tokens_are_long_and_differ() -> None:
    secrets = [each for each in objects(render()) if each["kind"] == "Secret"]
    tokens = [each["data"]["token"] for each in secrets]
    assert len(tokens) == len(set(tokens)) == 3
    assert all(len(token) == 64 for token in tokens)  # 48 characters, in base64


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("operator.worker=3", "additional properties 'worker' not allowed"),
        ("unknown=1", "additional properties 'unknown' not allowed"),
        ("reddb.durability=sometimes", "must be one of 'fsync', 'none'"),
        ("operator.replicas=0", "minimum: got 0, want 1"),
        ("operator.logLevel=loud", "value must be one of 'debug'"),
        ("runners.network=all", "must be one of 'none', 'allow'"),
        ("image.pullPolicy=Sometimes", "value must be one of 'IfNotPresent'"),
        ("runners.workspaceSizeLimit=lots", "does not match pattern"),
        ("tokens.reddb.existingSecret=Not_A_Name", "does not match pattern"),
        ("operator.watchNamespaces[0]=-x", "does not match pattern"),
        ("orchestrator.limiter=magic", "value must be one of 'vegas', 'failsafe', 'fixed'"),
        ("orchestrator.kubernetesAudiences[0]=a b", "does not match pattern"),
        ("orchestrator.slurm.api=cli", "does not match pattern"),
        ("orchestrator.slurm.api=http://slurm:6820", "'/orchestrator/slurm/tokenSecret': minLength"),
        ("networkPolicies.clients[0].pods=x", "additional properties 'pods' not allowed"),
        ("networkPolicies.sessions.namespaces[0]=A", "does not match pattern"),
        ("monitoring.serviceMonitor.interval=often", "does not match pattern"),
        ("runners.topologySpreadConstraints[0].maxSkew=1", "missing properties"),
        ("reddb.priorityClassName=Not_A_Name", "does not match pattern"),
        ("orchestrator.slurm.spool.path=/shared", "'/orchestrator/slurm/spool/claimName': minLength"),
    ],
)
def test_a_wrong_value_is_refused(setting: str, complaint: str) -> None:
    done = helm("template", "x", str(CHARTS / "dspy-agent"), "--kube-version=1.34.0", "--set", setting)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_every_value_is_in_the_schema_with_a_description() -> None:
    values = yaml.safe_load((CHARTS / "dspy-agent" / "values.yaml").read_text())
    schema = json.loads((CHARTS / "dspy-agent" / "values.schema.json").read_text())
    assert not list(undescribed(values, schema, schema["definitions"], ""))


def undescribed(value: Any, schema: Manifest, definitions: Manifest, path: str) -> list[str]:
    """Paths of values that the schema does not know, or does not describe."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    wrong = [] if not path or schema.get("description") else [path]
    if not isinstance(value, dict) or "properties" not in schema:
        return wrong
    missing = [f"{path}.{name}" for name in value if name not in schema["properties"]]
    below = [
        undescribed(child, schema["properties"][name], definitions, f"{path}.{name}")
        for name, child in value.items()
        if name in schema["properties"]
    ]
    return wrong + missing + [each for found in below for each in found]


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_only_who_asks_the_api_gets_a_token_for_it(variant: str) -> None:
    mounted = {
        pod["name"]: pod["spec"]["automountServiceAccountToken"]
        for pod in pod_templates(objects(render(*VARIANTS[variant])))
    }
    assert mounted == {
        "dspy-agent-operator": True,
        "dspy-agent-orchestrator": True,
        "dspy-agent-runners": False,
        "reddb": False,
    }


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_container_is_confined_and_bounded(variant: str) -> None:
    """What the restricted standard leaves open; the standard itself is asserted by an apiserver."""
    for pod in pod_templates(objects(render(*VARIANTS[variant]))):
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]
        for container in pod["spec"]["containers"]:
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_no_rule_is_wider_than_its_words(variant: str) -> None:
    roles = [each for each in objects(render(*VARIANTS[variant])) if each["kind"] in ("Role", "ClusterRole")]
    rules = [rule for role in roles for rule in role["rules"]]
    assert rules
    for rule in rules:
        assert not {"*"} & {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not {"escalate", "bind", "impersonate"} & {*rule["verbs"]}
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get"]


def test_with_namespaces_given_the_operator_gets_no_right_elsewhere() -> None:
    """Nor does the orchestrator, which is not to ask whose tokens are."""
    rendered = objects(render(*VARIANTS["overrides"]))
    assert not [each for each in rendered if each["kind"].startswith("ClusterRole")]
    roles = [each["metadata"]["namespace"] for each in rendered if each["kind"] == "Role"]
    assert sorted(roles) == ["dspy-agent", "dspy-agent", "team-a", "team-b"]


def test_what_has_several_pods_keeps_most_of_them_while_nodes_are_drained() -> None:
    """One pod has no budget: it would keep its node from ever being drained."""
    budgets = {
        variant: {
            each["metadata"]["name"]: each["spec"]["maxUnavailable"]
            for each in objects(render(*arguments))
            if each["kind"] == "PodDisruptionBudget"
        }
        for variant, arguments in VARIANTS.items()
    }
    assert budgets == {
        "defaults": {},
        "overrides": {
            "dspy-agent-operator": 1,
            "dspy-agent-orchestrator": 1,
            "dspy-agent-runners": "25%",
        },
    }


def test_names_are_made_in_one_file() -> None:
    """A name written into a template would not follow the release."""
    templates = list((CHARTS / "dspy-agent" / "templates").rglob("*.yaml"))
    assert templates
    for template in templates:
        text = template.read_text()
        given = re.findall(r"^  name: (.*)$", text, flags=re.MULTILINE)
        assert all("dspy-agent.name." in name for name in given), template


def test_crds_survive_an_uninstall() -> None:
    definitions = objects(render(chart="dspy-agent-crds"))
    assert len(definitions) == 4
    for definition in definitions:
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_the_operator_understands_its_settings(variant: str, tmp_path: Path) -> None:
    """Parsed by the operator's own code: a name that it does not read, or a value that it refuses, fails here."""
    (operator,) = [
        pod
        for pod in pod_templates(objects(render(*VARIANTS[variant])))
        if pod["name"] == "dspy-agent-operator"
    ]
    given = {
        each["name"]: each.get("value", "dspy-agent") for each in operator["spec"]["containers"][0]["env"]
    }
    ours = {name: value for name, value in given.items() if name.startswith("DSPY_OPERATOR_")}
    (tmp_path / "token").write_text("secret")
    ours["DSPY_OPERATOR_REDDB_TOKEN_FILE"] = str(tmp_path / "token")
    settings = load([], ours)
    assert {f"DSPY_OPERATOR_{field.name.upper()}" for field in dataclasses.fields(settings)} >= ours.keys()
    assert settings.workers == int(ours["DSPY_OPERATOR_WORKERS"])


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_the_orchestrator_understands_its_settings(variant: str, tmp_path: Path) -> None:
    """Parsed by the orchestrator itself, which then looks for the cluster that its runners are in, and finds none."""
    (orchestrator,) = [
        pod
        for pod in pod_templates(objects(render(*VARIANTS[variant])))
        if pod["name"] == "dspy-agent-orchestrator"
    ]
    (container,) = orchestrator["spec"]["containers"]
    for mount in container["volumeMounts"]:
        folder = tmp_path / mount["mountPath"].lstrip("/")
        folder.mkdir(parents=True)
        (folder / "token").write_text("secret")
    arguments = [each.replace("=/", f"={tmp_path}/") for each in container["args"]]
    done = subprocess.run(
        [ROOT / "dist" / "bin" / "orchestrator", *arguments],
        env={},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "endpointslices in --runners: no access to Kubernetes from here" in done.stderr
