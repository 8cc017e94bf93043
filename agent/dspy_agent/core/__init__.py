"""The loop policy → tool → observation of one session, its budget, its tools and its event log.

Nothing here talks to a service: `Runner` and `EventLog` are protocols that `dspy_agent.clients` fulfils.
"""
