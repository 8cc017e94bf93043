"""The agent: policies, tools, the loop and its services."""

__version__ = "0.1.0"
