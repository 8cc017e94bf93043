"""Building the project's container images, with or without a registry: `python3 -m tools.images build`."""
