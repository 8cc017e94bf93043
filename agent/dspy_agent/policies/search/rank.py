"""In which order: a linear model over a few named features, its weights in `weights.json`.

`search` weights order the candidates before anything ran; `choice` weights pick among patches that all pass the check,
where simpler and more general is better. They were set by hand; `python3 -m benchmarks.repair.run` measures them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import log
from pathlib import Path

from dspy_agent.policies.search.hints import Hints
from dspy_agent.policies.search.localise import Place
from dspy_agent.policies.search.templates import Proposal

WEIGHTS = Path(__file__).with_name("weights.json")


@dataclass(frozen=True)
class Weights:
    """Feature name → weight; a feature without a weight counts nothing."""

    search: Mapping[str, float]
    choice: Mapping[str, float]

    def search_score(self, vector: Mapping[str, float]) -> float:
        """Higher is tried earlier."""
        return sum(self.search.get(name, 0.0) * value for name, value in vector.items())

    def choice_score(self, vector: Mapping[str, float]) -> float:
        """Higher is preferred among patches that pass."""
        return sum(self.choice.get(name, 0.0) * value for name, value in vector.items())


@cache
def load_weights() -> Weights:
    """The weights that ship with the package."""
    values = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return Weights(values["search"], values["choice"])


def features(place: Place, template: str, proposal: Proposal, hints: Hints) -> dict[str, float]:
    """The features of one candidate; every value is near 0..5, so that weights compare."""
    old = sum(edit.end - edit.start for edit in proposal.edits)
    text = "".join(edit.text for edit in proposal.edits)
    special = any(len(word) > 1 and (repr(word) in text) for word in hints.words)
    return {
        "suspicion": log(place.score + 1e-6),
        "prior": log(proposal.prior + 1e-6),
        "raised_here": float(place.frame_distance == 0),
        "in_traceback": float(place.frame_distance is not None),
        "added": log(1 + max(0, len(text) - old)),
        "removed": log(1 + max(0, old - len(text))),
        "edits": float(len(proposal.edits)),
        "deletion": float(not text.strip() or text.strip() == "pass"),
        "test_constant": float(special),
        "signature": float(place.frame_distance is None and hasattr(place.statement, "args")),
        f"template:{template}": 1.0,
    }
