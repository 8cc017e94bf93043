"""Sets of run indexes as text: `0-4,7` is 0, 1, 2, 3, 4 and 7, as the status of an indexed Job of Kubernetes has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def compress(indexes: Iterable[int]) -> str:
    """The shortest text for a set of indexes; empty for none."""
    return ",".join(
        f"{first}-{last}" if last > first else str(first) for first, last in _ranges(sorted(indexes))
    )


def expand(text: str) -> set[int]:
    """The set that `compress` wrote. Raises ValueError for any other text."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        found.update(range(int(first), int(last if dash else first) + 1))
    return found


def _ranges(ordered: list[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for end in range(1, len(ordered) + 1):
        if end == len(ordered) or ordered[end] != ordered[end - 1] + 1:
            yield ordered[start], ordered[end - 1]
            start = end
