"""Every manifest that users are shown, in docs and examples, as an apiserver takes it."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.charts.apiserver import Apiserver
from tests.charts.manifests import PLURALS, ROOT, Manifest

PAGE = (ROOT / "docs" / "resources.md").read_text()
DOCUMENTED: list[Manifest] = [
    each
    for page in sorted((ROOT / "docs").glob("*.md"))
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    for each in yaml.safe_load_all(block)
    if str(each.get("apiVersion")).startswith("dspyagent.io/")
]
EXAMPLES: list[Manifest] = [
    each
    for path in sorted((ROOT / "examples").rglob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
    if each and str(each.get("apiVersion")).startswith("dspyagent.io/")
]


def test_each_kind_has_an_example() -> None:
    assert {each["kind"] for each in DOCUMENTED} == set(PLURALS)


@pytest.mark.parametrize("manifest", DOCUMENTED + EXAMPLES, ids=lambda each: each["metadata"]["name"])
def test_the_example_is_accepted(apiserver: Apiserver, manifest: Manifest) -> None:
    done = apiserver.kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(manifest)
    )
    assert done.returncode == 0, done.stderr


def test_every_link_within_the_page_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9-]", "", heading.lower().replace(" ", "-"))
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= headings
