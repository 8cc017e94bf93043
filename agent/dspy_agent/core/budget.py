"""One budget for a session: turns, tokens, money and time, whatever the policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

Clock = Callable[[], float]


@dataclass(frozen=True)
class Limits:
    """What may be spent; None is no limit. A turn is one completion of a model, or one trial."""

    turns: int | None = None
    tokens: int | None = None
    usd: Decimal | None = None
    seconds: float | None = None


class Budget:
    """Counts what was spent. `spent_seconds` is what an earlier process of the same session used."""

    def __init__(self, limits: Limits, spent_seconds: float = 0.0, clock: Clock = time.monotonic) -> None:
        self.limits = limits
        self.turns = 0
        self.tokens = 0
        self.usd = Decimal(0)
        self._clock = clock
        self._started = clock() - spent_seconds

    @property
    def seconds(self) -> float:
        """Working time so far, without the time between a crash and the restart."""
        return self._clock() - self._started

    @property
    def seconds_left(self) -> float:
        """Time that is left; infinite without a limit."""
        return float("inf") if self.limits.seconds is None else self.limits.seconds - self.seconds

    def charge(self, turns: int = 0, tokens: int = 0, usd: Decimal = Decimal(0)) -> None:
        """Add to what was spent."""
        self.turns += turns
        self.tokens += tokens
        self.usd += usd

    def exhausted(self) -> str | None:
        """A sentence that names the limit that is reached, or None."""
        limits = self.limits
        if self.seconds_left <= 0:
            return f"The budget of {limits.seconds:g} seconds is spent; raise budget.seconds to go on."
        if limits.turns is not None and self.turns >= limits.turns:
            return f"The budget of {limits.turns} turns is spent; raise budget.turns to go on."
        if limits.tokens is not None and self.tokens >= limits.tokens:
            return f"The budget of {limits.tokens} tokens is spent; raise budget.tokens to go on."
        if limits.usd is not None and self.usd >= limits.usd:
            return f"The budget of {limits.usd} USD is spent; raise budget.usd to go on."
        return None
