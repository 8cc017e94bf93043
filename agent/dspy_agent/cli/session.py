"""`dspy-agent session`: one AgentSession, from its environment to its termination message."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from types import FrameType

from dspy_agent import narrate
from dspy_agent.clients.reddb import BlobClient, StreamLog
from dspy_agent.clients.runner import RunnerClient
from dspy_agent.core.events import Event
from dspy_agent.core.journal import Listener
from dspy_agent.errors import LogFenced, Terminated
from dspy_agent.logs import Logger
from dspy_agent.pod.metrics import Metrics
from dspy_agent.pod.server import App, Server, SessionState, create_app
from dspy_agent.pod.session import PodSession
from dspy_agent.pod.spec import SessionSpec, parse
from dspy_agent.settings import Settings, add_flags, load
from dspy_agent.sources.fetch import Places

EXIT_FENCED = 3
EXIT_TERMINATED = 128 + signal.SIGTERM
# Begins to serve a session's interface.
Serve = Callable[[SessionState, App], Server]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)


def main(arguments: argparse.Namespace) -> int:
    """0 when the session ended, whatever its outcome; otherwise the kubelet restarts the container."""
    settings = load(arguments)
    return run(settings, lambda _, app: Server(settings.host, settings.port, app))


def run(settings: Settings, serve: Serve) -> int:
    """One session, however its pod was started; the exit code as of `main`."""
    spec = parse(settings.session)
    logger = Logger("agent", spec.uid.replace("-", ""))
    try:
        signal.signal(signal.SIGTERM, terminate)
        _run(settings, spec, logger, serve)
    except LogFenced as error:
        logger.error(str(error))
        return EXIT_FENCED
    except Terminated:
        logger.info("asked to stop")
        return 0 if spec.task is None else EXIT_TERMINATED
    return 0


def _run(settings: Settings, spec: SessionSpec, logger: Logger, serve: Serve) -> None:
    state = SessionState(spec.name, spec.namespace, spec.policy)
    metrics = Metrics()
    log = StreamLog(
        settings.reddb_url,
        settings.reddb_token,
        spec.log_key,
        settings.store_retry_seconds,
        timedelta(days=settings.retention_days),
    )
    server = serve(state, create_app(state, settings.runner_token, log, metrics))
    logger.info("listening", port=server.port)

    def listener(event: Event) -> None:
        metrics.observe(event)
        logger.info(narrate.line(event), seq=event.seq, event=event.type)

    try:
        outcome = _session(settings, spec, log, state, listener).run()
        if outcome is None:
            _serve_until_terminated(state)
            return
        state.phase = "Finished"
        settings.termination_log.write_text(outcome.termination_message())
        logger.info("finished", outcome=outcome.outcome, reason=outcome.reason)
    finally:
        state.settled.set()
        server.stop()
        log.close()


def _session(
    settings: Settings, spec: SessionSpec, log: StreamLog, state: SessionState, listener: Listener
) -> PodSession:
    blobs = BlobClient(
        settings.reddb_http_url,
        settings.reddb_token,
        settings.store_retry_seconds,
        timedelta(days=settings.retention_days),
    )
    return PodSession(
        spec=spec,
        runner=_runner(settings, spec),
        log=log,
        blobs=blobs,
        places=Places(
            settings.workspace_source, settings.git_secret_dir, blobs, settings.git_timeout_seconds
        ),
        runner_wait_seconds=settings.runner_wait_seconds,
        llm_api_key=settings.llm_api_key,
        on_ready=state.became_ready,
        listener=listener,
    )


def _runner(settings: Settings, spec: SessionSpec) -> RunnerClient:
    variables = None if settings.runner_variables is None else dict(settings.runner_variables)
    return RunnerClient(settings.runner_url, settings.runner_token, network=spec.network, variables=variables)


def _serve_until_terminated(state: SessionState) -> None:
    state.phase = "Interactive"
    threading.Event().wait()


def terminate(_signal: int, _frame: FrameType | None) -> None:
    """Raised in the main thread, where the session runs: whatever it waits for is interrupted."""
    raise Terminated("SIGTERM")
