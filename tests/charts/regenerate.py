"""Writes the golden files again: `python -m tests.charts.regenerate`. Read what changed before you commit it."""

from __future__ import annotations

from tests.charts.manifests import render
from tests.charts.test_charts import GOLDEN, VARIANTS, golden


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, arguments in VARIANTS.items():
        (GOLDEN / f"{name}.yaml").write_text(golden(render(*arguments)))


if __name__ == "__main__":
    main()
