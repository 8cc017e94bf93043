# mypy: ignore-errors
# Runs in the user's interpreter (3.9 or newer), without this package.
"""Python imports this at its start: records the check when it is a plain script or `python -m unittest`.

Under pytest the plugin `search_probe_pytest` records instead. Processes that the check starts are left alone.
"""

import os
import sys


def _records_here():
    if os.environ.get("SEARCH_PROBE_PID") != str(os.getpid()):
        return False
    arguments = sys.orig_argv[1:]
    return not any(os.path.basename(argument) in ("pytest", "py.test") for argument in arguments)


if _records_here():
    import search_probe_unittest

    search_probe_unittest.install()
