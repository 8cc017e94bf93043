"""HTTP to the apiserver over aiohttp, with kopf's logins.

Every error leaves as one of errors.py's, with the server's own words and the library's error chained.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import kopf

from dspy_operator import errors, names
from dspy_operator.store import Object

JSON = "application/json"
_LOGIN_LIFETIME_S = 300.0  # projected service-account tokens rotate: read them again before they end


def login() -> kopf.ConnectionInfo:
    """Credentials of the pod's service account, or of KUBECONFIG outside a cluster."""
    settings, logger = kopf.OperatorSettings(), logging.getLogger(__name__)
    info = kopf.login_with_service_account(settings=settings, logger=logger)
    info = info or kopf.login_with_kubeconfig(settings=settings, logger=logger)
    if info is None:
        raise errors.SettingsError(
            "No Kubernetes credentials: run in a pod with a service account, or set KUBECONFIG."
        )
    return info


class Apiserver:
    """One connection pool to one apiserver. Use as an async context manager."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._login = login()
        self._login_at = time.monotonic()

    async def __aenter__(self) -> Apiserver:
        connector = aiohttp.TCPConnector(ssl=self._login.as_ssl_context(), limit=64)
        headers = {"User-Agent": names.FIELD_MANAGER}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(  # noqa: PLR0913 - the parts of an HTTP request
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Object:
        """The JSON of a 2xx answer. Raises a ClusterError for every other, and UnavailableError for none."""
        if self._session is None:
            raise errors.OperatorError("Apiserver is used outside its context")
        headers = {"Accept": accept, "Content-Type": content_type, **self._authorization()}
        data = None if body is None else json.dumps(body)
        url = self._login.server.rstrip("/") + path
        try:
            async with self._session.request(
                method, url, params=query, data=data, headers=headers
            ) as response:
                text = await response.text()
                if response.status >= 400:
                    raise _classify(method, response.status, text, response.headers)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.UnavailableError(f"{method} {path}: {error or type(error).__name__}") from error
        answer: Object = json.loads(text)
        return answer

    def _authorization(self) -> dict[str, str]:
        if time.monotonic() - self._login_at > _LOGIN_LIFETIME_S:
            self._login, self._login_at = login(), time.monotonic()
        return self._login.as_http_headers()


_CLASSES = {
    400: errors.InvalidError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.InvalidError,
}


def _classify(method: str, status: int, text: str, headers: Mapping[str, str]) -> errors.ClusterError:
    message, reason = _words(text)
    if status == 429:
        return errors.TooManyRequestsError(message, _seconds(headers.get("Retry-After")))
    if status >= 500:
        return errors.UnavailableError(message, status)
    if method == "POST" and reason == "AlreadyExists":
        return errors.AlreadyExistsError(message, status)
    return _CLASSES.get(status, errors.ClusterError)(message, status)


def _words(text: str) -> tuple[str, str]:
    try:
        status: Any = json.loads(text)
    except ValueError:
        return text[:256], ""
    if not isinstance(status, dict):
        return text[:256], ""
    return str(status.get("message") or text[:256]), str(status.get("reason") or "")


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
