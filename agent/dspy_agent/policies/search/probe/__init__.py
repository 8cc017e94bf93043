"""The files that run inside the sandbox, and how to put them there.

They run in the user's interpreter (3.8 or newer), so they use only the standard library and stay out of the
package: `files()` gives them to `trial` as text.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = ".search-probe"
NAMES = (
    "launch.py",
    "sitecustomize.py",
    "search_probe_recorder.py",
    "search_probe_pytest.py",
    "search_probe_unittest.py",
    "search_probe_harness.py",
    "search_probe_pool.py",
    "search_probe_warm.py",
)
SPECTRUM = f"{FOLDER}/spectrum.json"
PLAN = f"{FOLDER}/plan.json"
RESULTS = f"{FOLDER}/results.jsonl"


@cache
def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def files() -> list[dict[str, str]]:
    """The probe as `trial` takes it: `[{"path", "content"}]`."""
    return [{"path": f"{FOLDER}/{name}", "content": _text(name)} for name in NAMES]
