"""RedDB tokens that reach no further than a key prefix."""

from __future__ import annotations

import base64
import hashlib
import hmac


def scoped_token(master: bytes, prefix: str) -> str:
    """`rdb1.<base64url(prefix)>.<hex hmac>`: RedDB checks it with the master token and nothing else."""
    encoded = base64.urlsafe_b64encode(prefix.encode()).decode().rstrip("=")
    message = f"rdb1.{encoded}"
    digest = hmac.new(master, message.encode(), hashlib.sha256).hexdigest()
    return f"{message}.{digest}"
