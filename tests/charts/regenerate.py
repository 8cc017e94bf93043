"""Writes the golden files again: `python -m tests.charts.regenerate`. Read what changed before you commit it."""

from __future__ import annotations

from tests.charts.manifests import render
from tests.charts.test_charts import GOLDEN, VARIANTS, without_tokens


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, arguments in VARIANTS.items():
        (GOLDEN / f"{name}.yaml").write_text(without_tokens(render(*arguments)))


if __name__ == "__main__":
    main()
