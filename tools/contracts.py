"""Writes contracts/http/<service>.yaml again from each service's own code: `python -m tools.contracts [--check]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts" / "http"
EXPORTERS: dict[str, list[str]] = {
    "env-runner": [str(ROOT / "dist/bin/env-runner"), "openapi"],
    "reddb": [str(ROOT / "dist/bin/reddb"), "openapi"],
    "orchestrator": [str(ROOT / "dist/bin/orchestrator"), "openapi"],
    "agent": [sys.executable, "-m", "dspy_agent.cli", "openapi"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a committed export is old"
    )
    check = parser.parse_args().check
    stale = [service for service in EXPORTERS if not refresh(service, check=check)]
    if stale:
        print(f"old contracts: {', '.join(stale)}; run `make generate` and commit", file=sys.stderr)
    return 1 if stale else 0


def refresh(service: str, *, check: bool) -> bool:
    """Return whether the committed export equals the code's; unless `check`, make it so."""
    exported = subprocess.run(EXPORTERS[service], check=True, capture_output=True, text=True).stdout
    path = CONTRACTS / f"{service}.yaml"
    if path.exists() and path.read_text() == exported:
        return True
    if check:
        return False
    path.write_text(exported)
    return True


if __name__ == "__main__":
    sys.exit(main())
