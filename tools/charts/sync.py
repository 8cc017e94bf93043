"""Writes again what is derived: `python -m tools.charts.sync [--check]`.

From crds/*.yaml: charts/dspy-agent-crds, whose copies differ by the annotation that makes Helm keep the definitions
(and with them every session) when the chart is uninstalled; and the field tables of docs/resources.md. From
tools/charts/dashboards.py: Grafana's dashboards. From the chart and deploy/argocd/health.lua: what deploy/ has of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.charts import dashboards, gitops, reference
from tools.common.paths import REPOSITORY

SOURCE = REPOSITORY / "crds"
COPY = REPOSITORY / "charts" / "dspy-agent-crds" / "templates"
HEADER = "# Copied from crds/{name} by tools/charts/sync.py: change it there.\n"
KEEP = "  annotations:\n    helm.sh/resource-policy: keep\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is old")
    check = parser.parse_args().check
    stale = out_of_step(expected())
    if not check:
        write(stale)
        return 0
    for path in stale:
        print(
            f"{path.relative_to(REPOSITORY)} is old: run `make generate` and commit",
            file=sys.stderr,
        )
    return 1 if stale else 0


def expected() -> dict[Path, str]:
    """Every derived file by path, with its text."""
    return {
        **expected_copies(),
        **dashboards.expected(),
        **gitops.expected(),
        reference.PAGE: reference.expected_page(),
    }


def expected_copies() -> dict[Path, str]:
    """The chart's templates by path, with their text."""
    return {
        COPY / source.name: chart_copy(source.name, source.read_text())
        for source in sorted(SOURCE.glob("*.yaml"))
    }


def chart_copy(name: str, source: str) -> str:
    """The text of one template.

    Raises:
        ValueError: Helm would read the source as a template, or it does not begin as expected.
    """
    if "{{" in source:
        raise ValueError(
            f"{name}: two opening braces would be read by Helm: word the description differently"
        )
    before, mark, after = source.partition("\nspec:\n")
    if not mark or "\n  annotations:" in before:
        raise ValueError(f"{name}: expected metadata without annotations, then spec, at the start of a line")
    definition = before[before.index("apiVersion:") :]
    return HEADER.format(name=name) + definition + "\n" + KEEP + mark.lstrip("\n") + after


def out_of_step(wanted: dict[Path, str]) -> dict[Path, str | None]:
    """What has to be written, by path; None for a copy whose source is gone."""
    wrong: dict[Path, str | None] = {path: text for path, text in wanted.items() if current(path) != text}
    present = sorted([*COPY.glob("*.yaml"), *dashboards.FOLDER.glob("*.json")])
    wrong.update({path: None for path in present if path not in wanted})
    return wrong


def current(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def write(stale: dict[Path, str | None]) -> None:
    for path, text in stale.items():
        if text is None:
            path.unlink()
        else:
            path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
