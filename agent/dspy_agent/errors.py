# ruff: noqa: N818 - session errors are named as the reason that the user reads in the session's status.
"""Every error of the agent, named by the boundary that it crossed.

DspyAgentError
├── SettingsError              a flag or environment variable is missing or wrong; the message names it
├── UsageError                 the command line asks for something that cannot be done
├── ToolError                  a tool call failed in a way that the policy can react to (becomes an observation)
├── RunnerError
│   ├── RunnerRequestError     the runner refused a request: `code`, `status`
│   │   └── CannotStart        argv[0] or the working directory of a command does not exist
│   └── RunnerLost             the runner does not answer, or was restarted and has lost what it held
├── StoreError
│   ├── StoreUnreachable       RedDB did not answer within the retry window
│   ├── StoreRefused           RedDB refused a request (token, key, size)
│   └── LogFenced              another agent owns this session's event log
├── ReplayMismatch             the policy yielded another call than the log has: it is not deterministic
└── SessionError               ends the session with outcome Error: `reason` as in the termination message
    ├── WorkspaceInvalid, WorkspaceUnreachable, SetupFailed
    ├── CheckAlreadyPasses, CheckCannotStart, CheckTimedOut
    ├── PolicyEndpointUnreachable, PolicyEndpointRefused, PolicyEndpointRateLimited
    └── UnsupportedPolicy

Terminated is none of them, as KeyboardInterrupt is none of Python's: SIGTERM, stop now, carry on from the log after a
restart. It derives from BaseException, so that no library takes it for an error of its own.
"""

from __future__ import annotations


class DspyAgentError(Exception):
    """Base of every error here; the message is one sentence that says what to do."""


class SettingsError(DspyAgentError):
    """A setting is missing or wrong."""


class UsageError(DspyAgentError):
    """The command line asks for something that cannot be done."""


class ToolError(DspyAgentError):
    """A tool call failed; the policy sees `code` and the message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RunnerError(DspyAgentError):
    """Something between us and the env runner."""


class RunnerRequestError(RunnerError):
    """The runner refused a request. `status` is the HTTP status."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class CannotStart(RunnerRequestError):
    """The command does not exist or is not executable, or its working directory is missing."""


class RunnerLost(RunnerError):
    """The runner does not answer, or was restarted and has lost what it held."""


class StoreError(DspyAgentError):
    """Something between us and RedDB."""


class StoreUnreachable(StoreError):
    """RedDB did not answer within the retry window."""


class StoreRefused(StoreError):
    """RedDB answered with a refusal."""


class LogFenced(StoreError):
    """Another agent wrote to this session's log."""


class ReplayMismatch(DspyAgentError):
    """The policy did not repeat the recorded calls."""


class Terminated(BaseException):
    """The process was asked to stop."""


class SessionError(DspyAgentError):
    """Ends the session with outcome Error; the class name is the reason."""

    @property
    def reason(self) -> str:
        return type(self).__name__


class WorkspaceInvalid(SessionError):
    """The workspace's source is there but cannot be used."""


class WorkspaceUnreachable(SessionError):
    """The workspace's source cannot be fetched."""


class SetupFailed(SessionError):
    """The setup command did not exit 0."""


class CheckAlreadyPasses(SessionError):
    """The check exits 0 before any change."""


class CheckCannotStart(SessionError):
    """The check's command cannot be started."""


class CheckTimedOut(SessionError):
    """The check runs into its time limit before any change."""


class PolicyEndpointUnreachable(SessionError):
    """The model endpoint cannot be reached."""


class PolicyEndpointRefused(SessionError):
    """The model endpoint refuses our requests."""


class PolicyEndpointRateLimited(SessionError):
    """The model endpoint limits the rate of our requests for longer than we may wait."""


class UnsupportedPolicy(SessionError):
    """No such policy in this version."""
