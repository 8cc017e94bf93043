"""`dspy-agent warm`: waits, with everything loaded, for the one AgentSession that it then runs as any other."""

from __future__ import annotations

import argparse
import gc
import signal
import threading

from dspy_agent.cli.session import EXIT_TERMINATED, run, terminate
from dspy_agent.clients.runner import RunnerClient
from dspy_agent.errors import Terminated
from dspy_agent.logs import Logger
from dspy_agent.pod.binding import Binding
from dspy_agent.pod.front import Front
from dspy_agent.policies import preload
from dspy_agent.settings import WARM, Settings, add_flags, load_warm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser, WARM)


def main(arguments: argparse.Namespace) -> int:
    """The session's exit code; 0 when the agent is stopped before it has one."""
    settings = load_warm(arguments)
    binding = Binding(settings.bound_dir)
    runner = RunnerClient(settings.unbound.runner_url, settings.unbound.runner_token)
    warm = threading.Event()
    front = Front(settings, binding, can_take=lambda: warm.is_set() and runner.answers())
    try:
        signal.signal(signal.SIGTERM, terminate)
        if not binding.taken:
            _warm_up(settings.unbound, runner)
            warm.set()
            Logger("agent", "").info("waiting for a session", port=front.server.port)
        request = binding.wait()
        return run(request.settings(settings.unbound), front.begin)
    except Terminated:
        return EXIT_TERMINATED if binding.taken else 0
    finally:
        front.server.stop()
        runner.close()


def _warm_up(settings: Settings, runner: RunnerClient) -> None:
    preload()
    runner.wait_ready(settings.runner_wait_seconds)
    # What is loaded stays: no collection goes through it again, least of all while a session is being prepared.
    gc.collect()
    gc.freeze()
