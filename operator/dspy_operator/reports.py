"""What containers say at their end, through their termination messages: untrusted text, checked before it counts."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dspy_operator.errors import ReportInvalidError

_Model = TypeVar("_Model", bound=BaseModel)

_MAX_BYTES = 4096
_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
_BigCount = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Reason = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]


class AgentReport(BaseModel):
    """The agent's result of a session with a task."""

    model_config = ConfigDict(strict=True)

    outcome: Literal["Solved", "Unsolved", "Error"]
    reason: _Reason
    message: Annotated[str, Field(max_length=_MAX_BYTES)]
    check_exit_code: Annotated[int | None, Field(alias="checkExitCode", ge=-(2**31), le=2**31 - 1)] = None
    patch_ref: Annotated[str | None, Field(alias="patchRef", max_length=512)] = None
    turns: _Count
    tokens: _BigCount
    seconds: Annotated[float, Field(ge=0, le=1e9, strict=False, allow_inf_nan=False)]


class Usage(BaseModel):
    """What a command used."""

    wall_ms: _BigCount = 0
    user_ms: _BigCount = 0
    system_ms: _BigCount = 0
    max_rss_bytes: _BigCount = 0


class RunnerError(BaseModel):
    """A failure that is the runner's or the request's, not the command's."""

    code: _Reason
    message: Annotated[str, Field(max_length=_MAX_BYTES)]


class RunnerReport(BaseModel):
    """The env runner's one-shot result: how the command ended, or why it never began."""

    exit_code: Annotated[int | None, Field(ge=0, le=255)] = None
    signal: Annotated[int | None, Field(ge=1, le=64)] = None
    reason: _Reason | None = None  # Completed, NonZeroExit, ...: a newer runner may know more than we do
    stdout_tail: Annotated[str, Field(max_length=_MAX_BYTES)] = ""
    stderr_tail: Annotated[str, Field(max_length=_MAX_BYTES)] = ""
    usage: Usage = Usage()
    isolation: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=32)] = []
    error: RunnerError | None = None


class WorkspaceReport(BaseModel):
    """Why a workspace could not be prepared."""

    reason: _Reason
    message: Annotated[str, Field(max_length=_MAX_BYTES)]


def agent_report(message: str | None) -> AgentReport:
    """Parses the agent's message. Raises ReportInvalidError."""
    return _parse(AgentReport, message)


def runner_report(message: str | None) -> RunnerReport:
    """Parses the runner's message: either `reason` or `error` is there. Raises ReportInvalidError."""
    report = _parse(RunnerReport, message)
    if (report.reason is None) == (report.error is None):
        raise ReportInvalidError("the message has neither or both of `reason` and `error`")
    return report


def workspace_report(message: str | None) -> WorkspaceReport:
    """Parses the workspace container's message. Raises ReportInvalidError."""
    return _parse(WorkspaceReport, message)


def _parse(model: type[_Model], message: str | None) -> _Model:
    if not message:
        raise ReportInvalidError("the message is empty")
    try:
        return model.model_validate_json(message)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise ReportInvalidError(f"{where}: {first['msg']}") from error
