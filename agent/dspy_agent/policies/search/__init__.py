"""policy.search: repairs a Python program without a model.

Read in this order: `policy` (the steps), `localise` (where), `templates` (what), `rank` (in which order), `probe` (what
runs inside the sandbox).
"""

from dspy_agent.policies.search.policy import SearchPolicy

__all__ = ["SearchPolicy"]
