"""Kubernetes' quantities, as `500m` or `2Gi`, as numbers."""

from __future__ import annotations

import re

_SHAPE = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?(?:[eE][0-9]+)?)([numkMGTPE]|[KMGTPE]i)?")
_FACTORS = {
    **{"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18},
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)},
}


def quantity(text: str | int) -> float:
    """The value of a quantity that the CRDs admit; infinite beyond what a float holds. ValueError for anything else."""
    found = _SHAPE.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1]) * _FACTORS.get(found[2], 1.0)
