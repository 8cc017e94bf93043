"""One apiserver for all tests of this folder; it starts in a few seconds and is stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.charts.apiserver import Apiserver, running_apiserver
from tests.charts.manifests import ROOT


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    """An apiserver with our kinds, and others' that the chart has objects of: by server-side apply, as users do it."""
    with running_apiserver(tmp_path_factory.mktemp("apiserver")) as server:
        others = ROOT / "tests" / "charts" / "third_party"
        applied = server.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"), "-f", str(others))
        assert applied.returncode == 0, applied.stderr
        served = server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        assert served.returncode == 0, served.stderr
        yield server
