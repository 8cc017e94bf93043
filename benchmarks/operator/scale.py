"""The operator under load, on fake nodes: `python -m benchmarks.operator.scale [--only NAME] [--quick]`.

Brings up a cluster of its own (see `fleet.py` for what is real and what is played) and runs the scenarios one after
the other. Latencies are this client's: from when an object's POST is due until a watch shows it Ready or done. Loads
are open: requests are sent when they are due, whatever became of the earlier ones. Writes are the apiserver's own
count, creating the object included, and whatever the scheduler and the played kubelets write. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from benchmarks.operator.fleet import FAKE_NODE, Fleet, Object, Seen, fleet, is_true, path_of

TEMPLATE: Object = {
    "nodeSelector": {FAKE_NODE: "true"},
    "tolerations": [{"key": FAKE_NODE, "operator": "Exists"}],
}
COLUMNS = (
    "objects",
    "done",
    "p50 ms",
    "p99 ms",
    "longest s",
    "a second",
    "writes each, until done",
    "settled",
    "operator CPU ms each",
    "load average",
)
POOL = "warm"
WARM: Object = {"poolRef": {"name": POOL}, "pooling": "Require", "workspace": {"empty": {}}}
LIMIT_S = 120.0


@dataclass(frozen=True)
class Load:
    """`count` objects, `rate` of them a second; all at once where it is None. `done` tells which are where they should
    be.
    """

    plural: str
    kind: str
    spec: Object
    done: Seen
    count: int
    rate: float | None = None


@dataclass(frozen=True)
class Row:
    """One scenario's figures. Seconds."""

    name: str
    done: int
    asked: int
    latencies: list[float]
    took: float
    until_done: Counter[str]
    settled: Counter[str]
    cpu: float
    load: float

    def markdown(self) -> str:
        p50, p99 = (f"{1000 * percentile(self.latencies, part):.0f}" for part in (0.5, 0.99))
        figures = [
            self.name,
            f"{self.done} of {self.asked}",
            p50,
            p99,
            f"{max(self.latencies, default=0.0):.2f}",
            f"{self.done / self.took:.1f}",
            f"{sum(self.until_done.values()) / self.asked:.1f}",
            f"{sum(self.settled.values()) / self.asked:.1f}",
            f"{1000 * self.cpu / self.asked:.1f}",
            f"{self.load:.1f}",
        ]
        return "| " + " | ".join(figures) + " |"


async def offered(scene: Fleet, name: str, load: Load, settle_s: float) -> Row:
    """Creates the objects when they are due and waits until all are done, or for LIMIT_S."""
    names = [f"{load.plural}-{number:05d}" for number in range(load.count)]
    watching = asyncio.create_task(scene.when(load.plural, set(names), load.done, LIMIT_S))
    await asyncio.sleep(0.5)
    before, cpu, started = await scene.writes(), scene.operator_cpu_s(), time.monotonic()
    sent: dict[str, float] = {}

    async def send(number: int) -> None:
        due = started + (0.0 if load.rate is None else number / load.rate)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        sent[names[number]] = due
        await scene.create(load.plural, load.kind, names[number], load.spec)

    await asyncio.gather(*(send(number) for number in range(load.count)))
    seen = await watching
    took = max(seen.values(), default=time.monotonic()) - started
    until_done, load_average = await scene.writes() - before, os.getloadavg()[0]
    await asyncio.sleep(settle_s)
    return Row(
        name=name,
        done=len(seen),
        asked=load.count,
        latencies=[at - sent[each] for each, at in seen.items()],
        took=took,
        until_done=until_done,
        settled=await scene.writes() - before,
        cpu=scene.operator_cpu_s() - cpu,
        load=load_average,
    )


async def cold_burst(scene: Fleet, part: float) -> Row:
    """Sessions without a pool, all at once."""
    spec = {"template": TEMPLATE, "workspace": {"empty": {}}}
    load = Load("agentsessions", "AgentSession", spec, is_ready, int(200 * part))
    row = await offered(scene, f"cold: {load.count} sessions at once", load, 2.0)
    await scene.clear("agentsessions")
    return row


async def warm_burst(scene: Fleet, part: float) -> Row:
    """As many sessions at once as there are warm pods."""
    load = Load("agentsessions", "AgentSession", WARM, is_ready, int(300 * part))
    return await warm(scene, f"warm: {load.count} sessions at once", load, load.count)


async def warm_rate(scene: Fleet, part: float) -> Row:
    """Sessions at a rate, on a pool that has room for all of them."""
    rate, pool = 75 * part, int(1050 * part)
    load = Load("agentsessions", "AgentSession", WARM, is_ready, int(10 * rate), rate)
    return await warm(scene, f"warm: {rate:g} sessions a second for 10 s, {pool} pods", load, pool)


async def warm(scene: Fleet, name: str, load: Load, pool: int) -> Row:
    await scene.create("agentpools", "AgentPool", POOL, {"replicas": pool, "template": TEMPLATE})
    full: Seen = lambda seen: (seen.get("status") or {}).get("ready") == pool  # noqa: E731
    await scene.until(f"{path_of('agentpools')}/{POOL}", full, 300)
    await asyncio.sleep(3.0)
    row = await offered(scene, name, load, 10.0)
    await scene.clear("agentsessions", "agentpools")
    return row


async def tasks(scene: Fleet, part: float) -> Row:
    """EnvTasks of one run each, all at once: how many a second are made, run and told."""
    spec = {"template": TEMPLATE, "command": ["true"]}
    load = Load("envtasks", "EnvTask", spec, is_complete, int(500 * part))
    row = await offered(scene, f"EnvTask: {load.count} at once", load, 2.0)
    await scene.clear("envtasks")
    return row


async def runs(scene: Fleet, part: float) -> Row:
    """One EnvTask with many runs, counted by run."""
    count = int(1000 * part)
    spec = {"template": TEMPLATE, "command": ["true"], "completions": count, "parallelism": 200}
    load = Load("envtasks", "EnvTask", spec, is_complete, 1)
    row = await offered(scene, f"EnvTask: one with {count} runs", load, 2.0)
    await scene.clear("envtasks")
    return replace(row, done=count * row.done, asked=count)


async def memory(scene: Fleet, part: float) -> str:
    """Many sessions that rest: the operator's memory, and what it does about them."""
    count = int(5000 * part)
    before = scene.operator_rss_mib()
    spec = {"template": TEMPLATE, "workspace": {"empty": {}}}
    gate = asyncio.Semaphore(50)

    async def create(number: int) -> None:
        async with gate:
            await scene.create("agentsessions", "AgentSession", f"idle-{number:05d}", spec)

    names = {f"idle-{number:05d}" for number in range(count)}
    watching = asyncio.create_task(scene.when("agentsessions", names, is_ready, 900))
    await asyncio.sleep(0.5)
    await asyncio.gather(*(create(number) for number in range(count)))
    ready = len(await watching)
    await asyncio.sleep(20)
    cpu, writes, since = scene.operator_cpu_s(), await scene.writes(), time.monotonic()
    await asyncio.sleep(30)
    busy = (scene.operator_cpu_s() - cpu) / (time.monotonic() - since)
    written = sum((await scene.writes() - writes).values())
    return (
        f"{ready} of {count} sessions Ready; operator {before:.0f} MiB before, {scene.operator_rss_mib():.0f} MiB "
        f"with them; idle: {100 * busy:.1f} % of a core, {written} writes in 30 s."
    )


def is_ready(seen: Object) -> bool:
    return is_true(seen, "Ready")


def is_complete(seen: Object) -> bool:
    return is_true(seen, "Complete")


def percentile(values: list[float], part: float) -> float:
    """The smallest value that at least that part of all do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


ROWS: dict[str, Callable[[Fleet, float], Awaitable[Row]]] = {
    "cold-burst": cold_burst,
    "warm-burst": warm_burst,
    "warm-rate": warm_rate,
    "tasks": tasks,
    "runs": runs,
}


async def main(arguments: argparse.Namespace) -> int:
    part = 0.1 if arguments.quick else 1.0
    wanted = arguments.only or [*ROWS, "memory"]
    async with fleet(arguments.nodes) as scene:
        print(f"| {' | '.join(COLUMNS)} |")
        print("|---" * len(COLUMNS) + "|")
        complete = True
        for name in [name for name in wanted if name in ROWS]:
            row = await ROWS[name](scene, part)
            print(row.markdown(), flush=True)
            print(f"{row.name}: {dict(row.settled.most_common())}", file=sys.stderr)
            complete = complete and row.done == row.asked
        if "memory" in wanted:
            print(f"\n{await memory(scene, part)}")
    return 0 if complete else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=[*ROWS, "memory"], help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="a tenth of each load, to see that it works")
    parser.add_argument("--nodes", type=int, default=100)
    sys.exit(asyncio.run(main(parser.parse_args())))
