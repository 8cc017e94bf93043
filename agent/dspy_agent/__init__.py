"""The agent: policies, tools, the loop and its services."""
