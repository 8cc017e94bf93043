"""`dspy-agent openapi`: the OpenAPI document of the session's HTTP interface."""

from __future__ import annotations

import argparse
import json

from dspy_agent.pod.openapi import document


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""
    del parser


def main(arguments: argparse.Namespace) -> int:
    del arguments
    # JSON is YAML: the agent's image needs no YAML library for this one document.
    print(json.dumps(document(), indent=2))
    return 0
