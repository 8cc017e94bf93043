"""A small real trainer in plain Python: logistic regression by gradient descent, which checkpoints and resumes.

`small_trainer.py FOLDER STEPS [GATE]`: with a gate, it waits for that file after ten steps.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import sys
import time
from pathlib import Path

_RESUME = "DSPY_TRAINING_RESUME_"


def main(folder: Path, steps: int, gate: Path | None) -> None:
    random.seed(7)
    points = [(random.gauss(0, 1), random.gauss(0, 1)) for _ in range(200)]
    data = [((x, y), 1.0 if 2 * x - y > 0.3 else 0.0) for x, y in points]
    step, weights = resumed()
    print(f"begins after step {step}", flush=True)
    while step < steps:
        while gate is not None and step >= 10 and not gate.exists():
            time.sleep(0.05)
        step, (weights, loss) = step + 1, descend(weights, data)
        metrics = {"loss": loss, "reward_mean": accuracy(weights, data)}
        tell({"dspy": "progress", "step": step, "total": steps, "metrics": metrics})
        if step % 5 == 0:
            tell({"dspy": "checkpoint", "step": step, **save(folder, step, weights)})


def descend(weights: list[float], data: list[tuple[tuple[float, float], float]]) -> tuple[list[float], float]:
    gradient, loss = [0.0, 0.0, 0.0], 0.0
    for (x, y), label in data:
        guess = 1 / (1 + math.exp(-(weights[0] * x + weights[1] * y + weights[2])))
        loss -= math.log(max(1e-9, guess if label else 1 - guess)) / len(data)
        for index, value in enumerate((x, y, 1.0)):
            gradient[index] += (guess - label) * value / len(data)
    return [weight - 2 * slope for weight, slope in zip(weights, gradient, strict=True)], loss


def accuracy(weights: list[float], data: list[tuple[tuple[float, float], float]]) -> float:
    right = sum((weights[0] * x + weights[1] * y + weights[2] > 0) == bool(label) for (x, y), label in data)
    return right / len(data)


def save(folder: Path, step: int, weights: list[float]) -> dict[str, str]:
    """Written beside and renamed: what bears a checkpoint's name is whole."""
    text = json.dumps({"step": step, "weights": weights}).encode()
    path, new = folder / f"{step}.json", folder / f"{step}.new"
    new.write_bytes(text)
    new.rename(path)
    return {"uri": path.as_uri(), "sha256": hashlib.sha256(text).hexdigest()}


def resumed() -> tuple[int, list[float]]:
    uri = os.environ.get(f"{_RESUME}FROM")
    if uri is None:
        return 0, [0.0, 0.0, 0.0]
    data = Path(uri.removeprefix("file://")).read_bytes()
    if hashlib.sha256(data).hexdigest() != os.environ[f"{_RESUME}SHA256"]:
        sys.exit("the checkpoint is not the one that was announced")
    told = json.loads(data)
    return told["step"], told["weights"]


def tell(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
