"""Grafana's dashboards as few lines each; `tools.charts.sync` writes them to charts/dspy-agent/files/dashboards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tools.common.paths import REPOSITORY

FOLDER = REPOSITORY / "charts" / "dspy-agent" / "files" / "dashboards"
WIDTH, HEIGHT, COLUMNS = 12, 8, 2
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION = 39  # of Grafana 10


@dataclass(frozen=True)
class Panel:
    """A graph. `queries` are pairs of an expression and a legend; NS stands for the chosen namespaces."""

    title: str
    unit: str
    help: str
    queries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Dashboard:
    """One page. `metric` is one that every installation has: its namespaces are the ones to choose from."""

    name: str
    title: str
    metric: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str, matchers: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{NS{matchers}}}[$__rate_interval]))"


def quantile(share: float, metric: str, *by: str) -> str:
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', ', '.join((*by, 'le')))})"


def graph(title: str, unit: str, help_: str, *queries: tuple[str, str]) -> Panel:
    return Panel(title, unit, help_, queries)


DASHBOARDS = (
    Dashboard("operator", "DSPy Agent / Operator", "dspy_operator_leader", (
        graph("Leader", "short", "One of the replicas acts: the sum is 1.",
              ("sum(dspy_operator_leader{NS})", "leaders")),
        graph("Objects", "short", "What the operator keeps in memory.",
              ("sum by (resource) (dspy_operator_objects{NS})", "{{resource}}")),
        graph("Passes", "ops", "Reconcile passes by kind and how they ended.",
              (rate("dspy_operator_reconcile_seconds_count", "kind, result"), "{{kind}} {{result}}")),
        graph("Time of a pass, 99%", "s", "Grows when the apiserver is slow.",
              (quantile(0.99, "dspy_operator_reconcile_seconds", "kind"), "{{kind}}")),
        graph("Waiting", "short", "Objects that wait for a worker, and that are looked at again at a set time.",
              ("sum(dspy_operator_queue_depth{NS})", "for a worker"),
              ("sum(dspy_operator_queue_delayed{NS})", "for their time")),
        graph("Writes", "ops", "What the apiserver accepted, Lease renewals included.",
              (rate("dspy_operator_apiserver_writes_total", "verb, resource"), "{{verb}} {{resource}}")),
    )),
    Dashboard("orchestrator", "DSPy Agent / Orchestrator", "dspy_orchestrator_leads", (
        graph("Tasks that have not ended, and dead letters", "short", "Live tasks near the queue's size are refused.",
              ("max by (stage) (dspy_orchestrator_queue_tasks{NS})", "{{stage}}")),
        graph("Running, ready, limit", "short", "Ready tasks while fewer run than the limit: runners are away.",
              ('sum by (backend) (dspy_orchestrator_in_flight_tasks{NS})', "running on {{backend}}"),
              ('sum by (backend) (dspy_orchestrator_ready_tasks{NS})', "ready for {{backend}}"),
              ('sum by (backend) (dspy_orchestrator_limit_tasks{NS, class=""})', "limit of {{backend}}")),
        graph("Held tasks", "short", "Tasks that wait for their time, a limit key or their children.",
              ("sum by (for) (dspy_orchestrator_held_tasks{NS})", "{{for}}")),
        graph("Ended tasks", "ops", "By the state in which they ended.",
              (rate("dspy_orchestrator_tasks_finished_total", "state"), "{{state}}")),
        graph("Waiting, 90%", "s", "From creation to the start of an attempt.",
              (quantile(0.9, "dspy_orchestrator_wait_seconds", "class"), "{{class}}")),
        graph("Running, 90%", "s", "Duration of an attempt.",
              (quantile(0.9, "dspy_orchestrator_run_seconds", "class"), "{{class}}")),
        graph("Runners", "short", "That passed their last check; and leaders, which should be one.",
              ("max(dspy_orchestrator_healthy_runners{NS})", "healthy runners"),
              ("sum(dspy_orchestrator_leads{NS})", "leaders")),
        graph("Trouble", "ops", "Attempts after the first, and runners that were left out.",
              (rate("dspy_orchestrator_retries_total", "class"), "retries {{class}}"),
              (rate("dspy_orchestrator_circuit_openings_total", "namespace"), "runners left out")),
        graph("Workspaces", "ops", "Whether a runner held an attempt's workspace, or had to be sent it.",
              (rate("dspy_orchestrator_workspaces_total", "outcome"), "{{outcome}}")),
        graph("Requests", "ops", "By status.",
              (rate("dspy_orchestrator_http_request_seconds_count", "status"), "{{status}}")),
        graph("Slurm", "ops", "Calls, failures among them, and jobs by how they ended.",
              (rate("dspy_orchestrator_slurm_call_seconds_count", "call"), "{{call}}"),
              (rate("dspy_orchestrator_slurm_calls_failed_total", "call"), "{{call}} failed")),
        graph("Event streams", "short", "That are open.",
              ("sum(dspy_orchestrator_event_streams{NS})", "streams")),
    )),
    Dashboard("reddb", "DSPy Agent / RedDB", "dspy_reddb_connections", (
        graph("Commands", "ops", "By name.", (rate("dspy_reddb_commands_total", "command"), "{{command}}")),
        graph("Commit", "s", "Until a group of writes is on disk: a slow volume shows here first.",
              (quantile(0.5, "dspy_reddb_commit_seconds"), "50%"),
              (quantile(0.99, "dspy_reddb_commit_seconds"), "99%")),
        graph("Writes in a commit", "short", "Grows with load: it is what keeps fsyncs few.",
              (quantile(0.5, "dspy_reddb_commit_batch_size"), "50%"),
              (quantile(0.99, "dspy_reddb_commit_batch_size"), "99%")),
        graph("Connections", "short", "Open ones.", ("sum(dspy_reddb_connections{NS})", "open")),
        graph("Refused and cut", "ops", "Over the limit of connections; for breaking a limit or the protocol.",
              (rate("dspy_reddb_connections_refused_total", "namespace"), "refused"),
              (rate("dspy_reddb_clients_cut_total", "namespace"), "cut")),
        graph("Memory and journal", "bytes", "Cached keys and values; what the tables have yet to take in.",
              ("sum(dspy_reddb_cached_bytes{NS})", "cached"), ("sum(dspy_reddb_backlog_bytes{NS})", "backlog")),
        graph("Keys", "short", "Those that expired and were not swept yet included.",
              ("sum(dspy_reddb_keys{NS})", "keys"), ("sum(dspy_reddb_watched_keys{NS})", "watched")),
    )),
    Dashboard("runners", "DSPy Agent / Shared runners", "dspy_runner_exec_active", (
        graph("Running commands", "short", "Now, by runner.",
              ("sum by (pod) (dspy_runner_exec_active{NS})", "{{pod}}")),
        graph("Ended commands", "ops", "By how they ended.", (rate("dspy_runner_exec_total", "reason"), "{{reason}}")),
        graph("Time of a command", "s", "From its start to the reply.",
              (quantile(0.5, "dspy_runner_exec_seconds"), "50%"), (quantile(0.99, "dspy_runner_exec_seconds"), "99%")),
        graph("Time of a fork", "s", "Of a workspace.",
              (quantile(0.5, "dspy_runner_fork_seconds"), "50%"), (quantile(0.99, "dspy_runner_fork_seconds"), "99%")),
        graph("Responses", "ops", "By status; 429 is a runner that has as many commands as it takes.",
              (rate("dspy_runner_http_responses_total", "status"), "{{status}}")),
    )),
)  # fmt: skip


def expected() -> dict[Any, str]:
    """Every dashboard's file by path, with its text."""
    return {FOLDER / f"{each.name}.json": json.dumps(rendered(each), indent=1) + "\n" for each in DASHBOARDS}


def rendered(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": f"dspy-agent-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["dspy-agent"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables(dashboard.metric)},
        "panels": [drawn(number, each) for number, each in enumerate(dashboard.panels)],
    }


def variables(metric: str) -> list[dict[str, Any]]:
    query = f"label_values({metric}, namespace)"
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
        {
            "name": "namespace",
            "type": "query",
            "label": "Namespace",
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": "namespace"},
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def drawn(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": DATASOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": expression.replace("NS", 'namespace=~"$namespace"'),
                "legendFormat": legend,
            }
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }
