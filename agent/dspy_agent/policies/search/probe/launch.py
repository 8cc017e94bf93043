# mypy: ignore-errors
# Runs in the user's interpreter (3.9 or newer), without this package.
"""Starts the check with the probe switched on: `python3 -S -E launch.py OUTPUT CHECK...`.

Only environment variables change, so the check runs as its author wrote it, under whatever wrapper (`sh -c`, `env`,
`make`). The paths are absolute because a wrapper may change the directory first.
"""

import os
import sys


def main():
    """Extend PYTHONPATH and PYTEST_ADDOPTS, then become the check."""
    here = os.path.dirname(os.path.abspath(__file__))
    env = dict(os.environ)
    env["SEARCH_PROBE_ROOT"] = os.getcwd()
    env["SEARCH_PROBE_OUTPUT"] = os.path.abspath(sys.argv[1])
    env["SEARCH_PROBE_PID"] = str(os.getpid())
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [here, env.get("PYTHONPATH")]))
    env["PYTEST_ADDOPTS"] = " ".join(filter(None, [env.get("PYTEST_ADDOPTS"), "-p search_probe_pytest"]))
    try:
        os.execvpe(sys.argv[2], sys.argv[2:], env)
    except OSError as error:
        sys.exit("cannot start the check: %s" % error)


main()
