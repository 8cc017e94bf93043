"""How often, and how long after a failure, something is tried again."""

from __future__ import annotations

from typing import Final

# Of what surely never began; apart from spec.backoffLimit.
MAX_START_RETRIES: Final = 3
_CAP_S = 360.0
_LARGEST_EXPONENT = 32


def delay_s(base_s: float, failures: int) -> float:
    """Seconds before the next attempt: `base_s` after the first failure, doubling, at most six minutes."""
    return min(_CAP_S, base_s * 2.0 ** min(max(0, failures - 1), _LARGEST_EXPONENT))
