"""`dspy-agent session-show`: what an AgentSession did, read from the cluster with the person's own kubectl."""

from __future__ import annotations

import argparse
import enum
import json
import sys
from collections.abc import Iterator
from typing import Any

from dspy_agent import narrate
from dspy_agent.clients.kubectl import Kubectl
from dspy_agent.clients.reddb_http import RedDbHttp
from dspy_agent.core.events import Event

PAGE = 100
PATCH_PREFIX = "reddb://blobs/sha256/"
CHECKS = {"check_before": "The check before any change", "check_after": "The check after the change"}


class Part(enum.Enum):
    """What is shown of a session."""

    STORY = enum.auto()
    EVENTS = enum.auto()
    DIFF = enum.auto()
    JSON = enum.auto()


def add_arguments(parser: argparse.ArgumentParser, *, whole: bool = True) -> None:
    """`whole`: the verb shows the whole story, unless it is asked for a part."""
    parser.add_argument("name", help="name of the AgentSession")
    parser.add_argument("-n", "--namespace", help="default: that of kubectl's context")
    parser.add_argument("--release-namespace", default="dspy-agent", help="where the chart is installed")
    parser.add_argument("--reddb-service", default="reddb", help="Service of RedDB in that namespace")
    parser.add_argument("--reddb-secret", default="reddb-token", help="Secret with its token, key `token`")
    parser.add_argument("--kubeconfig", help="default: kubectl's own")
    if not whole:
        return
    only = parser.add_mutually_exclusive_group()
    for part, help_text in (
        (Part.EVENTS, "the events alone"),
        (Part.DIFF, "the diff alone"),
        (Part.JSON, "events and diff as JSON"),
    ):
        flag = f"--{part.name.lower()}"
        only.add_argument(flag, dest="part", action="store_const", const=part, help=help_text)
    parser.set_defaults(part=Part.STORY)


def main(arguments: argparse.Namespace) -> int:
    """0; the session's own outcome does not matter here. Raises UsageError."""
    return show(arguments, arguments.part)


def show(arguments: argparse.Namespace, part: Part) -> int:
    """Prints that part. Raises UsageError."""
    kubectl = Kubectl(arguments.kubeconfig)
    session = kubectl.get("agentsessions.dspyagent.io", arguments.name, arguments.namespace)
    token = kubectl.secret(arguments.reddb_secret, "token", arguments.release_namespace)
    with (
        kubectl.forward(f"service/{arguments.reddb_service}", 8082, arguments.release_namespace) as port,
        RedDbHttp(f"http://127.0.0.1:{port}", token) as reddb,
    ):
        events = list(_events(reddb, session["metadata"]))
        patch = _patch(reddb, session, events)
    if part is Part.JSON:
        print(json.dumps({"events": [json.loads(event.to_json()) for event in events], "patch": patch}))
    elif part is Part.DIFF:
        print(patch or "The session changed nothing.")
    elif part is Part.EVENTS:
        _print_events(events)
    else:
        _print_story(session, events, patch)
    return 0


def _events(reddb: RedDbHttp, metadata: dict[str, Any]) -> Iterator[Event]:
    key = f"session/{metadata['namespace']}/{metadata['name']}/{metadata['uid']}/events"
    after = 0
    while page := reddb.events(key, after, PAGE):
        yield from page
        after = page[-1].seq


def _patch(reddb: RedDbHttp, session: dict[str, Any], events: list[Event]) -> str:
    """The patch that the session's status names, or its last event, which is there a little earlier."""
    reference = ((session.get("status") or {}).get("result") or {}).get("patchRef")
    if not reference and events and events[-1].type == "session_finished":
        reference = events[-1].data.get("patch_ref")
    return reddb.blob(reference.removeprefix(PATCH_PREFIX)).decode(errors="replace") if reference else ""


def _print_story(session: dict[str, Any], events: list[Event], patch: str) -> None:
    metadata = session["metadata"]
    ended = _ended(events)
    print(f"AgentSession {metadata['namespace']}/{metadata['name']}: {ended or _state(session)}")
    if prompt := _prompt(events):
        print(f"\n{prompt}")
    print("\n== What happened")
    _print_events(events)
    _print_checks(events)
    if ended:
        print(f"\n== The diff\n{patch or 'The session changed nothing.'}")


def _state(session: dict[str, Any]) -> str:
    """Of a session that has recorded no end: what its conditions say, Stalled before anything else."""
    conditions = (session.get("status") or {}).get("conditions") or ()
    true = {each["type"]: each for each in conditions if each["status"] == "True"}
    for kind in ("Stalled", "Finished", "Ready", "Reconciling"):
        if kind in true:
            return f"{kind} ({true[kind]['reason']}): {true[kind].get('message', '')}".rstrip(": ")
    return "not finished"


def _ended(events: list[Event]) -> str | None:
    """The last word; None when there is none yet."""
    if not events or events[-1].type != "session_finished":
        return None
    data = events[-1].data
    tried = f"{data['candidates_run']} candidates tried"
    return f"{data['outcome']} ({data['reason']}) after {data['seconds']:.1f} s, {tried}"


def _prompt(events: list[Event]) -> str:
    return str(events[0].data["prompt"]).strip() if events and events[0].type == "session_started" else ""


def _print_events(events: list[Event]) -> None:
    if not events:
        print("The session has not recorded anything yet.", file=sys.stderr)
    for event in events:
        print(narrate.line(event))


def _print_checks(events: list[Event]) -> None:
    for event in events:
        if event.type in CHECKS:
            said = "\n".join(
                part for part in (event.data["stdout_tail"], event.data["stderr_tail"]) if part.strip()
            )
            print(
                f"\n== {CHECKS[event.type]} ({narrate.ending(event.data)})\n{said.strip() or '(no output)'}"
            )
