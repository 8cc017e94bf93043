"""Fake nodes for work at scale: KWOK runs as a pod and plays the kubelets of any number of nodes."""

from __future__ import annotations
