"""Wiring: settings, lease, kopf, queue. Read `operate` for the order of things."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, cast

import kopf

from dspy_operator import errors, handlers, logs, names, resync, settings
from dspy_operator.agents import Agents
from dspy_operator.cluster import Cluster
from dspy_operator.controller import Controller
from dspy_operator.lease import Elector
from dspy_operator.metrics import Metrics
from dspy_operator.orchestrator import Orchestrator
from dspy_operator.outside import Outside
from dspy_operator.queues import Queues
from dspy_operator.ray_dashboard import RayDashboard
from dspy_operator.reconcile.context import Context
from dspy_operator.serving import Server
from dspy_operator.settings import Settings
from dspy_operator.store import PODS, Store

logger = logging.getLogger("dspy_operator")

_CRD_POLL_S = 2.0
_LIST_AGAIN_S = 1.0
_DRAIN_S = 5.0

_Job = Callable[[], Coroutine[Any, Any, None]]


def main() -> None:
    """Runs until SIGTERM or SIGINT (exit 0), a lost lease (1) or a wrong setting (2)."""
    try:
        made = settings.load(sys.argv[1:], os.environ)
    except errors.SettingsError as error:
        print(f"dspy-operator: {error}", file=sys.stderr)
        sys.exit(2)
    logs.configure(made.log_level)
    try:
        asyncio.run(operate(made))
    except errors.OperatorError as error:
        logger.error("the operator stops", extra={"error": str(error)})
        sys.exit(1)
    except asyncio.CancelledError:
        logger.info("stopped before the operator began to watch")


async def operate(made: Settings) -> None:
    """Serves probes, waits for the CRDs, watches from the start and works as long as it leads."""
    _end_on_signals()
    metrics = Metrics()
    async with Cluster(metrics.wrote) as cluster, Outside() as outside, Agents() as agents:
        queue = Queues()
        ctx = Context(made, cluster, agents, Store(), lambda: datetime.now(UTC), queue.add)
        _reach(ctx, outside)
        elector = Elector(
            cluster,
            namespace=made.namespace,
            name=made.lease_name,
            identity=made.identity,
            duration_s=made.lease_seconds,
            now=ctx.now,
        )
        _expose(metrics, ctx.store, queue, elector)
        watching, informed = asyncio.Event(), asyncio.Event()
        async with _served(made, metrics, watching):
            await _crds(cluster)
            controller = Controller(ctx, metrics)
            jobs: list[_Job] = [
                elector.run,
                *queue.clocks(),
                lambda: _inform(ctx, cluster, elector, informed),
                lambda: resync.keep(ctx, cluster, made.watch_namespaces, queue.add),
                *_leading(informed, queue.workers(made.workers, controller.reconcile, controller.failed)),
            ]
            await _until_stopped(jobs, _watch(ctx, queue, made, watching))
            await _release(elector)


def _reach(ctx: Context, outside: Outside) -> None:
    """What training needs outside the cluster's API."""
    ctx.ray_logs = RayDashboard(outside)
    if ctx.settings.orchestrator_url:
        token_file = ctx.settings.orchestrator_token_file
        ctx.task_queue = Orchestrator(outside, ctx.settings.orchestrator_url, token_file)


def _end_on_signals() -> None:
    """Until kopf puts its own handlers in place: process 1 of a container ignores signals that it does not handle."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, lambda: task.cancel() if task is not None else None)


async def _inform(ctx: Context, cluster: Cluster, elector: Elector, informed: asyncio.Event) -> None:
    """Lists our pods once, when this replica begins to lead: a watch may tell of an object before its pods.

    A pod's name does not say whether its pool or its session already has it, so that none may be unknown then.
    """
    await elector.leading.wait()
    while not informed.is_set():
        try:
            for namespace in ctx.settings.watch_namespaces or (None,):
                async for pod in cluster.pods(namespace, names.MANAGED_PODS):
                    ctx.store.put(PODS, pod)
            informed.set()
        except errors.ClusterError as error:
            logger.warning("our pods could not be listed", extra={"error": str(error)})
            await asyncio.sleep(_LIST_AGAIN_S)
    await asyncio.Event().wait()  # a job that ends would end the operator


def _leading(informed: asyncio.Event, workers: list[_Job]) -> list[_Job]:
    """Workers that are idle as a follower (the queue fills meanwhile, each key once), at work as the leader."""

    async def lead(worker: _Job) -> None:
        await informed.wait()
        await worker()

    return [functools.partial(lead, worker) for worker in workers]


async def _watch(ctx: Context, queue: Queues, made: Settings, watching: asyncio.Event) -> None:
    await kopf.operator(
        registry=handlers.registry(ctx, queue.add),
        settings=handlers.settings(),
        standalone=True,
        clusterwide=not made.watch_namespaces,
        namespaces=made.watch_namespaces,
        # Left to itself, kopf asks the password file for a user's name, and the image has none for its uid.
        # The cast: kopf keeps the type of an identity (a str) to itself.
        identity=cast(Any, made.identity),
        ready_flag=watching,
    )


async def _until_stopped(
    jobs: list[Callable[[], Coroutine[Any, Any, None]]], watch: Coroutine[Any, Any, None]
) -> None:
    """Runs everything until kopf ends, which SIGTERM makes it do, or until a job fails."""
    tasks = [asyncio.create_task(job()) for job in jobs]
    # kopf takes every task that is not there when it starts for its own and ends it with itself: it starts last.
    await asyncio.sleep(0)
    watcher = asyncio.create_task(watch)
    try:
        done, _ = await asyncio.wait([watcher, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (watcher, *tasks):
            task.cancel()
        await asyncio.wait([watcher, *tasks], timeout=_DRAIN_S)


async def _release(elector: Elector) -> None:
    try:
        await elector.release()
    except errors.ClusterError as error:
        # The lease then runs out by itself; a stop is no less a stop for it.
        logger.warning("the lease could not be released", extra={"error": str(error)})


async def _crds(cluster: Cluster) -> None:
    """Waits until the apiserver serves our kinds: the CRDs' chart may be installed later than the operator's."""
    told = ""
    while True:
        waits = await _missing(cluster)
        if not waits:
            return
        if waits != told:
            logger.warning(f"waiting for {waits}")
            told = waits
        await asyncio.sleep(_CRD_POLL_S)


async def _missing(cluster: Cluster) -> str:
    try:
        missing = sorted(set(names.KINDS) - await cluster.served_kinds())
    except errors.UnavailableError as error:
        return f"the apiserver: {error}"
    return f"CRDs, install the chart dspy-agent-crds: {', '.join(missing)}" if missing else ""


@contextlib.asynccontextmanager
async def _served(made: Settings, metrics: Metrics, watching: asyncio.Event) -> AsyncIterator[None]:
    def ready() -> str | None:
        return None if watching.is_set() else "The operator is not watching yet: are the CRDs installed?"

    server = Server(made.listen, metrics.registry, alive=lambda: None, ready=ready)
    port = await server.start()
    logger.info(f"serving probes and metrics on port {port}")
    try:
        yield
    finally:
        await server.stop()


def _expose(metrics: Metrics, store: Store, queue: Queues, elector: Elector) -> None:
    metrics.watch("queue_depth", "Objects that wait for a worker.", lambda: len(queue))
    metrics.watch(
        "queue_delayed", "Objects that will be looked at again at a set time.", lambda: queue.delayed
    )
    metrics.watch("leader", "1 where this replica leads.", lambda: float(elector.leading.is_set()))
    for resource in store.count():
        metrics.objects.labels(resource).set_function(functools.partial(store.count_of, resource))


if __name__ == "__main__":
    main()
