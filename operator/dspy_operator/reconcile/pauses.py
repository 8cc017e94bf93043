"""How long a pool whose pods fail is left alone: longer each time, until one of its pods works."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dspy_operator.status import pods
from dspy_operator.status.pool import Inventory

_FIRST_S = 2.0
_CAP_S = 300.0
_REFUSED = "PodRefused"
_LASTING_S = 60.0  # a pod that is lost later is lost with its node, which is no reason to wait with another
_MISSES = 2  # agents in a row that cannot be reached: one may have had bad luck with its node


@dataclass
class Backoff:
    """Failures in a row, and until when not to try again."""

    failures: int = 0
    until: datetime | None = None
    said: tuple[str, str] | None = None  # the latest failure's reason, and its words

    def failed(self, reason: str, message: str, now: datetime) -> None:
        """Leaves it alone for a while."""
        self.until = now + timedelta(seconds=_pause_s(self.failures))
        self.failures += 1
        self.said = (reason, message)

    def left_s(self, now: datetime) -> float | None:
        """Seconds until the next try, or None where it need not wait."""
        left_s = 0.0 if self.until is None else (self.until - now).total_seconds()
        return left_s if left_s > 0 else None

    def clear(self) -> None:
        """It works."""
        self.failures, self.until, self.said = 0, None, None


@dataclass
class Reach(Backoff):
    """Whether the agents of a pool's pods can be reached: a claimed pod that cannot be is a pod lost."""

    misses: int = 0
    trying: bool = False

    def try_one(self, now: datetime) -> None:
        """A session takes a pod. After a failure it is alone in trying, at most for as long as the pause was."""
        if self.failures:
            self.trying = True
            self.until = now + timedelta(seconds=_pause_s(self.failures - 1))

    def missed(self, message: str, now: datetime) -> None:
        """An agent could not be reached."""
        self.misses += 1
        if self.misses >= _MISSES and (
            self.trying or not self.failures
        ):  # those that began before count once
            self.trying = False
            self.failed("AgentUnreachable", message, now)

    def clear(self) -> None:
        """An agent answered."""
        super().clear()
        self.misses, self.trying = 0, False


@dataclass
class Pause(Backoff):
    """What this process remembers of one pool; a restart tries again at once."""

    template_hash: str = ""
    proven: bool = False  # a pod of this template was ready
    agents: Reach = field(default_factory=Reach)

    def observe(self, template_hash: str, stock: Inventory, now: datetime) -> None:
        """Takes note of what became of the pods. Called once per pass."""
        if template_hash != self.template_hash:
            self.template_hash, self.proven = template_hash, False
            self.clear()
        lost = [pod for pod in stock.over if (now - pods.created_at(pod)).total_seconds() < _LASTING_S]
        if self.left_s(now) is None:  # what fails in a pause failed of what the pause is for
            if lost:
                self.failed("PodLost", f"A warm pod was lost: {pods.loss(lost[0])}.", now)
            elif stock.free:
                self.clear()
        self.proven = self.proven or bool(stock.free)

    def created(self) -> None:
        """The apiserver took a pod: what it refused one for is over."""
        if self.said is not None and self.said[0] == _REFUSED:
            self.clear()


def _pause_s(failures: int) -> float:
    return min(_CAP_S, _FIRST_S * 2.0 ** min(failures, 16))
