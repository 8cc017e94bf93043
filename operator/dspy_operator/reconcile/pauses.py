"""How long a pool whose pods fail is left alone: longer each time, until one of its pods gets ready."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dspy_operator.status import pods
from dspy_operator.status.pool import Inventory

_FIRST_S = 2.0
_CAP_S = 300.0
_REFUSED = "PodRefused"


@dataclass
class Pause:
    """What this process remembers of one pool; a restart tries again at once."""

    template_hash: str = ""
    proven: bool = False  # a pod of this template was ready
    failures: int = 0
    until: datetime | None = None
    said: tuple[str, str] | None = None  # the latest failure's reason, and its words

    def observe(self, template_hash: str, stock: Inventory, now: datetime) -> None:
        """Takes note of what became of the pods. Called once per pass."""
        if template_hash != self.template_hash:
            self.template_hash, self.proven = template_hash, False
            self._clear()
        if stock.over:
            self.failed("PodLost", f"A warm pod was lost: {pods.loss(stock.over[0])}.", now)
        elif stock.free and self.left_s(now) is None:
            self._clear()
        self.proven = self.proven or bool(stock.free)

    def failed(self, reason: str, message: str, now: datetime) -> None:
        """Leaves the pool alone for a while."""
        self.until = now + timedelta(seconds=min(_CAP_S, _FIRST_S * 2.0 ** min(self.failures, 16)))
        self.failures += 1
        self.said = (reason, message)

    def created(self) -> None:
        """The apiserver took a pod: what it refused one for is over."""
        if self.said is not None and self.said[0] == _REFUSED:
            self._clear()

    def left_s(self, now: datetime) -> float | None:
        """Seconds until the next try, or None where it need not wait."""
        left_s = 0.0 if self.until is None else (self.until - now).total_seconds()
        return left_s if left_s > 0 else None

    def _clear(self) -> None:
        self.failures, self.until, self.said = 0, None, None
