"""The operator's errors, named by the boundary that they crossed.

OperatorError
├── SettingsError          a flag or environment variable is wrong; the message names it
├── StalledError           a spec cannot work until a person changes something: becomes the Stalled condition
├── NotYetError            something is going away by itself, and is waited for: becomes the Reconciling condition
├── ReportInvalidError     a container's termination message is not what we agreed on
├── LeaseLostError         another replica leads, or the lease could not be renewed in time
├── ServiceError           the orchestrator, or Ray's dashboard, said no, or nothing
│   ├── ServiceRefusedError      4xx, with the service's words
│   └── ServiceUnavailableError  5xx, 429, no connection, no answer in time, or one that makes no sense
├── NotBindableError       a session that no warm pod can take; the message says why
├── AgentError             a warm pod's agent did not take a session
│   ├── AgentRefusedError  it said no, in its words
│   ├── AgentUnreachableError  no connection: nothing was sent
│   └── AgentSilentError   no answer, or none that can be read: it may have taken the session
└── ClusterError           the Kubernetes API said no, or nothing
    ├── NotFoundError      404
    ├── AlreadyExistsError 409 on create
    ├── ConflictError      409 on anything else: the object changed, or is another one by now
    ├── ForbiddenError     403: RBAC, quota, Pod Security
    ├── InvalidError       422 and 400
    ├── TooManyRequestsError  429, with the delay that the server asked for
    └── UnavailableError   5xx, no connection, no answer in time

Library errors stop at apiserver.py, outside.py and agents.py, where they are classified once and chained.
"""

from __future__ import annotations


class OperatorError(Exception):
    """Base of everything that this package raises on purpose."""


class SettingsError(OperatorError):
    """A setting is missing or malformed. The message names the flag and the variable."""


class StalledError(OperatorError):
    """A spec that cannot work as it stands.

    `reason` is the condition's CamelCase reason, `message` a sentence that says what to change, `retry_s` after how
    many seconds it is worth looking again without any event (None: only a change of the object can help).
    """

    def __init__(self, reason: str, message: str, retry_s: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_s = retry_s


class NotYetError(OperatorError):
    """What is in the way goes by itself. `reason` and `message` tell of it, `retry_s` is when to look again."""

    def __init__(self, reason: str, message: str, retry_s: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_s = retry_s


class ReportInvalidError(OperatorError):
    """A termination message that is absent, too long, not JSON, or not of the agreed shape."""


class LeaseLostError(OperatorError):
    """This process may no longer act: it has to end, and come back as a follower."""


class ServiceError(OperatorError):
    """A service beside the Kubernetes API did not do what it was asked."""


class ServiceRefusedError(ServiceError):
    """The service understood, and refused. `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ServiceUnavailableError(ServiceError):
    """The service cannot be reached, failed, or answered what is not its language: try again later."""


class NotBindableError(OperatorError):
    """A session that has to be started cold. The message is a sentence for its user."""


class NoWarmPodError(OperatorError):
    """A pool that has no pod to give. The message is a sentence for its user, `retry_s` when it may have one again."""

    def __init__(self, message: str, retry_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class AgentError(OperatorError):
    """An agent did not take a session."""


class AgentRefusedError(AgentError):
    """The agent said no. `status` is the HTTP status, the message its own words."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class AgentUnreachableError(AgentError):
    """There was no connection, so the agent knows nothing of the session."""


class AgentSilentError(AgentError):
    """The request was sent and no answer can be read: the agent may be at work on the session."""


class ClusterError(OperatorError):
    """The Kubernetes API refused or failed. `message` is the server's own words."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class NotFoundError(ClusterError):
    """The object is gone, or never was."""


class AlreadyExistsError(ClusterError):
    """Something bears that name already."""


class ConflictError(ClusterError):
    """The object changed since it was read, or another one bears its name now."""


class ForbiddenError(ClusterError):
    """RBAC, a quota or an admission rule refused; the message says which."""


class InvalidError(ClusterError):
    """The server's validation refused the object."""


class TooManyRequestsError(ClusterError):
    """The server is busy and asked to be left alone for `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message, 429)
        self.retry_after_s = retry_after_s


class UnavailableError(ClusterError):
    """The server failed, could not be reached, or did not answer in time."""
