"""Tokens made from RedDB's master token: RedDB's own, which reach no further than a key prefix, and the warm pods'."""

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


def fingerprint(token: str) -> str:
    """Hex SHA-256: tells whether a token is the right one, and not what it is."""
    return hashlib.sha256(token.encode()).hexdigest()
