"""`python -m dspy_agent.cli` is `dspy-agent`."""

import sys

from dspy_agent.cli import main

sys.exit(main())
