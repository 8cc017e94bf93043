"""How tools read the state of an object: Argo CD by our Lua, Flux and others by the rules of kstatus."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from tests.charts.manifests import ROOT, Manifest

HEALTH = ROOT / "deploy" / "argocd" / "health.lua"


def health(seen: Manifest) -> tuple[str, str]:
    """Status and message by health.lua, run as Argo CD runs it: by a Lua 5.1, with the object as `obj`."""
    program = shutil.which("lua5.1")
    assert program is not None, "lua5.1 is not installed: run `make setup`"
    script = (
        f"obj = {literal(seen)}\n"
        f"local function health()\n{HEALTH.read_text()}\nend\n"
        "local found = health()\nprint(found.status)\nprint(found.message)\n"
    )
    done = subprocess.run(
        [program, "-"], input=script, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    status, message = done.stdout.rstrip("\n").split("\n", 1)
    return status, message


def literal(value: Any) -> str:
    """The value in Lua's notation."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{literal(name)}] = {literal(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(literal(each) for each in value) + "}"
    return "nil" if value is None else json.dumps(value, ensure_ascii=False)


def kstatus(seen: Manifest) -> str:
    """What sigs.k8s.io/cli-utils' kstatus says of a kind that it does not know."""
    status = seen.get("status", {})
    if "deletionTimestamp" in seen["metadata"]:
        return "Terminating"
    if status.get("observedGeneration", seen["metadata"]["generation"]) != seen["metadata"]["generation"]:
        return "InProgress"
    conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "InProgress" if conditions.get("Ready", "True") != "True" else "Current"
