"""Installs what the other tools need and this machine lacks: `python3 -m tools.setup`."""
