"""Manifests of the end-to-end tests: small real programs with a bug, and what asks for their repair."""

from __future__ import annotations

from typing import Any

from tests.e2e.kube import Manifest

API_VERSION = "dspyagent.io/v1alpha1"
PYTEST = ["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pages.py"]

# Off by one: the last, partly filled page is lost.
BUGGY_FILES = {
    "pages.py": '''def page_count(items, per_page):
    """How many pages `items` things fill, `per_page` on each."""
    full = items // per_page
    if items % per_page > 1:
        return full + 1
    return full
''',
    "test_pages.py": """from pages import page_count


def test_nothing_fills_no_page():
    assert page_count(0, 10) == 0


def test_full_pages_only():
    assert page_count(20, 10) == 2


def test_one_thing_too_many_needs_a_page_of_its_own():
    assert page_count(21, 10) == 3


def test_a_partly_filled_page_counts():
    assert page_count(25, 10) == 3
""",
}


def config_map(name: str, files: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files}


def session(name: str, check: list[str] | None = None, **spec: Any) -> Manifest:
    """An AgentSession on ConfigMap `name` (unless `workspace` says otherwise) that repairs until `check` passes."""
    defaults: dict[str, Any] = {
        "workspace": {"configMapRef": {"name": name}},
        "task": {
            "prompt": "The last page is missing when it holds a single thing.",
            "check": {"command": check or PYTEST, "timeoutSeconds": 60},
            "protectedPaths": ["test_*.py"],
        },
        "policy": {"search": {}},
        "budget": {"seconds": 240},
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentSession",
        "metadata": {"name": name},
        "spec": {**defaults, **spec},
    }


def interactive(name: str, **spec: Any) -> Manifest:
    """An AgentSession on ConfigMap `name` without a task: it gets ready and stays. Its model is never asked."""
    manifest = session(
        name, policy={"llm": {"endpoint": "http://nowhere.invalid/v1", "model": "none"}}, **spec
    )
    del manifest["spec"]["task"]
    return manifest


def env_task(name: str, *command: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "EnvTask",
        "metadata": {"name": name},
        "spec": {"command": list(command), "timeoutSeconds": 60, **spec},
    }
