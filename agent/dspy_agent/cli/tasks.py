"""`dspy-agent tasks`: the orchestrator's queue, for people."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dspy_agent.cli import tasks_submit, tasks_view
from dspy_agent.cli.tasks_follow import follow
from dspy_agent.clients.kubectl import Kubectl
from dspy_agent.clients.orchestrator import Orchestrator
from dspy_agent.errors import DspyAgentError, SettingsError, UsageError

URL = "DSPY_AGENT_ORCHESTRATOR_URL"
TOKEN = "DSPY_AGENT_ORCHESTRATOR_TOKEN"  # noqa: S105 - the variable's name
PORT = 9097
EXIT_PARTLY = 1
STATES = ("Queued", "Running", "Waiting", "Succeeded", "Failed", "Cancelled", "Dead")
CLASSES = ("Interactive", "Short", "Long")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        f"The orchestrator is at --url or ${URL}; without, kubectl forwards a port to it. Its token is in --token-file "
        f"or ${TOKEN}; without, in the chart's Secret."
    )
    _add_connection(parser)
    verbs = parser.add_subparsers(dest="task_verb", required=True, metavar="VERB")
    submit = verbs.add_parser("submit", help="enqueue a command: submit [flags] -- PROGRAM [ARGUMENT …]")
    tasks_submit.add_arguments(submit, CLASSES)
    submit.add_argument("--wait", action="store_true", help="follow it; exit with the command's exit code")
    _add_output(submit)
    _add_list(verbs.add_parser("list", help="tasks, newest first"))
    show = verbs.add_parser("show", help="all about one task")
    show.add_argument("id")
    _add_output(show)
    tail = verbs.add_parser(
        "tail", help="follow a task to its end: states on stderr, output on stdout, the command's exit code"
    )
    tail.add_argument("id")
    for verb, help_text in (
        ("cancel", "end tasks, queued or running, with their descendants"),
        ("retry", "put dead letters back into the queue"),
        ("close", "close scopes: they end after the children they have"),
    ):
        verbs.add_parser(verb, help=help_text).add_argument("id", nargs="+")


def main(arguments: argparse.Namespace) -> int:
    """0, or the command's exit code where one is followed. Raises UsageError, SettingsError."""
    verb = _VERBS[arguments.task_verb]
    with _connect(arguments) as orchestrator:
        return verb(orchestrator, arguments)


def _add_connection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help=f"of the orchestrator, http://host:port (${URL})")
    parser.add_argument("--token-file", type=Path, help=f"with the token to send (${TOKEN} holds one itself)")
    parser.add_argument("--release-namespace", default="dspy-agent", help="where the chart is installed")
    parser.add_argument("--orchestrator-service", default="dspy-agent-orchestrator", help="its Service there")
    parser.add_argument(
        "--orchestrator-secret", default="dspy-agent-orchestrator-token", help="Secret with its token"
    )
    parser.add_argument("--kubeconfig", help="default: kubectl's own")


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=STATES)
    parser.add_argument("--class", dest="class_", choices=CLASSES)
    parser.add_argument("--tenant", help="default: your own; an admin's: all")
    parser.add_argument("--parent", metavar="ID", help="only this task's children")
    parser.add_argument("-n", "--limit", type=int, default=50, help="default 50")
    _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


@contextmanager
def _connect(arguments: argparse.Namespace) -> Iterator[Orchestrator]:
    url = arguments.url or os.environ.get(URL)
    token = _token(arguments)
    if url:
        if not url.startswith(("http://", "https://")):
            raise SettingsError(f"--url (or {URL}) {url!r} must begin with http:// or https://.")
        if not token:
            raise SettingsError(f"--token-file or {TOKEN} is needed with --url.")
        with Orchestrator(url, token) as orchestrator:
            yield orchestrator
        return
    kubectl, namespace = Kubectl(arguments.kubeconfig), arguments.release_namespace
    token = token or kubectl.secret(arguments.orchestrator_secret, "token", namespace)
    with (
        kubectl.forward(f"service/{arguments.orchestrator_service}", PORT, namespace) as port,
        Orchestrator(f"http://127.0.0.1:{port}", token) as orchestrator,
    ):
        yield orchestrator


def _token(arguments: argparse.Namespace) -> str:
    if arguments.token_file is None:
        return os.environ.get(TOKEN, "").strip()
    token: str = arguments.token_file.read_text().strip()
    if not token:
        raise SettingsError(f"--token-file {arguments.token_file} is empty.")
    return token


def _submit(orchestrator: Orchestrator, arguments: argparse.Namespace) -> int:
    task_id = orchestrator.submit(tasks_submit.spec(arguments))
    if not arguments.wait:
        print(json.dumps({"id": task_id}) if arguments.output == "json" else task_id)
        return 0
    print(f"task {task_id}", file=sys.stderr, flush=True)
    return follow(orchestrator.events(task_id), as_json=arguments.output == "json")


def _list(orchestrator: Orchestrator, arguments: argparse.Namespace) -> int:
    if arguments.limit < 1:
        raise UsageError("--limit must be 1 or more.")
    asked = {
        "state": arguments.state,
        "class": arguments.class_,
        "tenant": arguments.tenant,
        "parent": arguments.parent,
    }
    filters = {name: value for name, value in asked.items() if value}
    tasks = orchestrator.tasks(filters, arguments.limit)
    print(json.dumps({"tasks": tasks}) if arguments.output == "json" else tasks_view.table(tasks))
    return 0


def _show(orchestrator: Orchestrator, arguments: argparse.Namespace) -> int:
    task = orchestrator.task(arguments.id)
    print(json.dumps(task) if arguments.output == "json" else tasks_view.story(task))
    return 0


def _tail(orchestrator: Orchestrator, arguments: argparse.Namespace) -> int:
    return follow(orchestrator.events(arguments.id), as_json=False)


def _cancel(orchestrator: Orchestrator, arguments: argparse.Namespace) -> int:
    return _each(arguments.id, orchestrator.cancel)


def _retry(orchestrator: Orchestrator, arguments: argparse.Namespace) -> int:
    return _each(arguments.id, orchestrator.retry)


def _close(orchestrator: Orchestrator, arguments: argparse.Namespace) -> int:
    return _each(arguments.id, orchestrator.close_scope)


def _each(ids: list[str], change: Callable[[str], dict[str, object]]) -> int:
    """All of them, whatever becomes of one; a single one's error is that of the command."""
    code = 0
    for task_id in ids:
        try:
            print(f"{task_id} {change(task_id)['state']}", flush=True)
        except DspyAgentError as error:
            if len(ids) == 1:
                raise
            print(f"dspy-agent: {task_id}: {error}", file=sys.stderr)
            code = EXIT_PARTLY
    return code


_VERBS: dict[str, Callable[[Orchestrator, argparse.Namespace], int]] = {
    "submit": _submit,
    "list": _list,
    "show": _show,
    "tail": _tail,
    "cancel": _cancel,
    "retry": _retry,
    "close": _close,
}
