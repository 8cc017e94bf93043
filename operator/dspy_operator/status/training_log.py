"""What a trainer prints, read as what it is: untrusted text with a few lines for us in it. Pure.

    {"dspy": "progress", "step": 120, "total": 400, "metrics": {"reward_mean": 0.61}}
    {"dspy": "checkpoint", "step": 100, "uri": "s3://bucket/run/100", "sha256": "..."}

contracts/events/training-line.schema.json is made from the models here. A line that is not of this form is not ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dspy_operator.store import Object

MAX_LINE = 16 * 1024
MAX_POINTS = 64
MAX_METRICS = 32
# The curve shows the first of these that the trainer reports.
CURVE = ("reward_mean", "reward", "loss")

_Step = Annotated[int, Field(ge=0, le=2**53, strict=True)]


class Progress(BaseModel):
    """Optimiser steps done, of how many, and metrics by name. A metric that is no finite number is left out."""

    model_config = ConfigDict(extra="ignore")

    dspy: Literal["progress"]
    step: _Step
    total: _Step | None = None
    metrics: dict[Annotated[str, Field(min_length=1, max_length=128)], float | None] = {}


class Checkpoint(BaseModel):
    """A checkpoint that is complete: printed after it was written, never before."""

    model_config = ConfigDict(extra="ignore")

    dspy: Literal["checkpoint"]
    step: _Step
    uri: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^[^\s\x00-\x1f]+$")]
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None


LINE: TypeAdapter[Progress | Checkpoint] = TypeAdapter(
    Annotated[Progress | Checkpoint, Field(discriminator="dspy")]
)


def read(text: str) -> Iterator[Progress | Checkpoint]:
    """The lines for us, in order. No text makes it raise."""
    for line in text.split("\n"):
        if len(line) > MAX_LINE or '"dspy"' not in line:
            continue
        try:
            # NaN and Infinity are no JSON, but Python's json writes them for a loss that diverged.
            told = json.loads(line, parse_constant=lambda _: None)
            yield LINE.validate_python(told)
        except (ValueError, RecursionError, ValidationError):
            continue


def advance(status: Object, text: str) -> Object:
    """`progress` and `checkpoint` of the status, as they are after that piece of the log. Neither goes back.

    The piece may begin before what was read last, or be of a run that its backend began again from the start: what is
    behind what is known already is passed over.
    """
    fields: Object = {name: status[name] for name in ("progress", "checkpoint") if name in status}
    for line in read(text):
        name = line.dspy
        if line.step < fields.get(name, {}).get("step", 0):
            continue
        if isinstance(line, Progress):
            fields[name] = _stepped(fields.get(name, {}), line)
        else:
            fields[name] = line.model_dump(exclude={"dspy"}, exclude_none=True)
    return fields


def rewound(status: Object, *, resumes: bool) -> Object:
    """`progress` and `checkpoint` as a next run begins: at the newest checkpoint; at nothing where it begins anew."""
    checkpoint, progress = status.get("checkpoint"), status.get("progress")
    if not resumes or checkpoint is None:
        return {}
    if progress is None or progress["step"] <= checkpoint["step"]:
        return {name: status[name] for name in ("progress", "checkpoint") if name in status}
    way = [point for point in progress.get("curve", []) if point["step"] <= checkpoint["step"]]
    total = {"total": progress["totalSteps"]} if "totalSteps" in progress else {}
    return {"progress": {**_place(checkpoint["step"], **total), "curve": way}, "checkpoint": checkpoint}


def thin(points: list[Object]) -> list[Object]:
    """At most MAX_POINTS: every second one goes where there are more, the first and the newest stay."""
    while len(points) > MAX_POINTS:
        points = [*points[:-1:2], points[-1]]
    return points


def _stepped(before: Object, line: Progress) -> Object:
    finite = {
        name: value for name, value in line.metrics.items() if value is not None and math.isfinite(value)
    }
    after = _place(line.step, line.total)
    after["metrics"] = [
        {"name": name, "value": decimal(finite[name])} for name in sorted(finite)[:MAX_METRICS]
    ]
    curve = [point for point in before.get("curve", []) if point["step"] < line.step]
    drawn = next((name for name in CURVE if name in finite), None)
    if drawn is not None:
        curve = thin([*curve, {"step": line.step, "value": decimal(finite[drawn])}])
    after["curve"] = curve
    return after


def _place(step: int, total: int | None = None) -> Object:
    if not total:
        return {"step": step}
    return {"step": step, "totalSteps": total, "percent": min(100, step * 100 // total)}


def decimal(value: float) -> str:
    """A number as the API keeps it: six digits, as text."""
    return f"{value:.6g}"
