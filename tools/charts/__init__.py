"""Keeps what the charts ship in step with its sources."""
