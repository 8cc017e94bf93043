"""The command line `dspy-agent`. Each verb is a module that is imported when it is asked for: starting stays quick."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from dspy_agent import __version__
from dspy_agent.errors import DspyAgentError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# verb → (module with add_arguments(parser) and main(arguments) -> exit code, help)
_VERBS = {
    "solve": ("dspy_agent.cli.solve", "repair a repository of this machine until its check passes"),
    "session-show": (
        "dspy_agent.cli.session_show",
        "tell the story of an AgentSession of a cluster: events, checks, diff",
    ),
    "tasks": ("dspy_agent.cli.tasks", "send, list, follow and end tasks of the orchestrator"),
    "session": ("dspy_agent.cli.session", "run one AgentSession (the agent container's entry point)"),
    "warm": (
        "dspy_agent.cli.warm",
        "wait for the one AgentSession to run (the entry point of a pool's pods)",
    ),
    "workspace": ("dspy_agent.cli.workspace", "fetch a workspace into a folder (for EnvTask pods)"),
    "openapi": ("dspy_agent.cli.openapi", "print the OpenAPI document of the session's HTTP interface"),
}


def main(argv: list[str] | None = None) -> int:
    """Exit code of the verb; 2 when the command line or the environment is wrong."""
    words = sys.argv[1:] if argv is None else argv
    arguments = _parser(words).parse_args(words)
    try:
        code: int = import_module(_VERBS[arguments.verb][0]).main(arguments)
    except (DspyAgentError, OSError) as error:
        print(f"dspy-agent: {sentence(error)}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("dspy-agent: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def sentence(error: DspyAgentError | OSError) -> str:
    """What went wrong, for a person."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return str(error)


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dspy-agent", description="Coding agents that work until a check passes."
    )
    parser.add_argument("--version", action="version", version=f"dspy-agent {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (module, help_text) in _VERBS.items():
        verb_parser = verbs.add_parser(verb, help=help_text, description=help_text)
        if verb in words[:1]:
            import_module(module).add_arguments(verb_parser)
    return parser
