"""One AgentSession in its pod: the spec, the life of the session, its HTTP interface."""
