"""kubectl as the tests use it: manifests in, objects out, and waiting on what the API server says."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Kube:
    """One cluster seen from one namespace. Every call is bounded in time and raises with kubectl's own words."""

    kubeconfig: Path
    namespace: str

    def run(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        return self.kubectl("--namespace", self.namespace, *args, stdin=stdin, timeout=timeout)

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        done = subprocess.run(
            ["kubectl", *args],
            input=stdin,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            raise KubectlError(
                f"kubectl {' '.join(args)} ended with {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def apply(self, *manifests: Manifest) -> None:
        self.run(
            "apply",
            "--server-side",
            "-f",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}),
        )

    def get(self, kind: str, name: str) -> Manifest:
        found: Manifest = json.loads(self.run("get", kind, name, "-o", "json"))
        return found

    def list(self, kind: str, selector: str = "") -> list[Manifest]:
        found = json.loads(self.run("get", kind, "-o", "json", *(["-l", selector] if selector else [])))
        items: list[Manifest] = found["items"]
        return items

    def wait(self, kind: str, name: str, condition: str, seconds: int = 120) -> Manifest:
        """Wait for `condition` (a type of status.conditions, or jsonpath=...) and return the object as it is then."""
        try:
            self.run(
                "wait",
                f"{kind}/{name}",
                f"--for={wait_argument(condition)}",
                f"--timeout={seconds}s",
                timeout=seconds + 10,
            )
        except KubectlError as error:
            raise KubectlError(f"{error}\n{self.story(kind, name)}") from None
        return self.get(kind, name)

    def story(self, kind: str, name: str) -> str:
        """What there is to know of an object and its pod, for a failed test's reader."""
        told = []
        for what in (
            ("get", kind, name, "-o", "jsonpath={.status}"),
            ("describe", "pod", name),
            ("logs", name, "--all-containers", "--tail=40", "--prefix"),
        ):
            try:
                told.append(f"--- kubectl {' '.join(what)}\n{self.run(*what)}")
            except KubectlError as error:
                told.append(str(error))
        return "\n".join(told)


class KubectlError(AssertionError):
    """kubectl said no, or waited in vain."""


def wait_argument(condition: str) -> str:
    return condition if "=" in condition else f"condition={condition}"


def condition(thing: Manifest, kind: str) -> Manifest:
    """Return the condition of type `kind`; an empty one where the object has none."""
    return next((c for c in thing.get("status", {}).get("conditions", []) if c["type"] == kind), {})
