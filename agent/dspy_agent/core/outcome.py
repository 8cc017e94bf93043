"""How a session ended, as the operator, the CLI and the log tell it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

TERMINATION_LIMIT_BYTES = 4096


@dataclass(frozen=True)
class Outcome:
    """`reason` is one CamelCase word, `message` a sentence that says what to change (or what was done)."""

    outcome: Literal["Solved", "Unsolved", "Error"]
    reason: str
    message: str
    check_exit_code: int | None = None
    patch: str = ""
    patch_ref: str | None = None
    turns: int = 0
    tokens: int = 0
    seconds: float = 0.0
    candidates_run: int = 0

    def event_data(self) -> dict[str, Any]:
        """The data of the session_finished event; the patch itself is in check_after or behind patch_ref."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "message": self.message,
            "check_exit_code": self.check_exit_code,
            "patch_ref": self.patch_ref,
            "turns": self.turns,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "candidates_run": self.candidates_run,
        }

    def termination_message(self) -> str:
        """The JSON for the kubelet, at most 4096 bytes: the message is cut, never the fields."""
        fields = {
            "outcome": self.outcome,
            "reason": self.reason,
            "message": self.message,
            "checkExitCode": self.check_exit_code,
            "patchRef": self.patch_ref,
            "turns": self.turns,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
        }
        text = json.dumps(fields)
        while len(text) > TERMINATION_LIMIT_BYTES:
            fields["message"] = str(fields["message"])[: -max(64, (len(text) - TERMINATION_LIMIT_BYTES) // 6)]
            text = json.dumps(fields)
        return text
