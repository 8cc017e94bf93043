"""The marks of every module of end-to-end tests."""

from __future__ import annotations

import pytest


def in_cluster(seconds: int) -> list[pytest.MarkDecorator]:
    """Needs a cluster; each test has `seconds` for itself.

    The time that fixtures take is not the test's: the first one waits for the cluster and its images. What fixtures do
    has bounds of its own.
    """
    return [pytest.mark.cluster, pytest.mark.timeout(seconds, func_only=True)]
