"""Agents in memory: they take sessions as the agent of a warm pod does, or answer as they are told to."""

from __future__ import annotations

import json
from typing import Any


class FakeAgents:
    """Implements reconcile.context.AgentClient. `answers`: what is raised or said next, before the usual `Ready`."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.endpoints: list[str] = []
        self.answers: list[str | Exception] = []

    async def bind(self, endpoint: str, token: str, body: bytes, wait_s: int) -> str:
        self.endpoints.append(endpoint)
        self.bodies.append(json.loads(body))
        answer = self.answers.pop(0) if self.answers else "Ready"
        if isinstance(answer, Exception):
            raise answer
        return answer
