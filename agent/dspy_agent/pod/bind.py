"""What `POST /v1/bind` takes: one session, with all that its pod would have had from the start."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dspy_agent.pod.spec import UNREADABLE, read
from dspy_agent.settings import Settings

# The runner's bound on the arguments and environment of a command.
MAX_ENVIRONMENT_BYTES = 1024 * 1024


def _decoded(value: object) -> object:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError("this is not base64") from error


Text = Annotated[str, Field(min_length=1)]
# As keys of ConfigMaps and Secrets are: no path, nothing that the kubelet would hide.
FileName = Annotated[str, Field(pattern=r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$", max_length=253)]
Content = Annotated[bytes, BeforeValidator(_decoded, json_schema_input_type=str)]


class _Strict(BaseModel):
    # Never the input in an error: it holds secrets.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Variable(_Strict):
    """A variable of the session's commands."""

    name: Annotated[str, Field(pattern=r"^[^=\x00]+$")]
    value: Annotated[str, Field(pattern=r"^[^\x00]*$")]


class Metadata(BaseModel):
    """Which session it is."""

    namespace: Text
    name: Text
    uid: Text


class AgentSession(BaseModel):
    """The AgentSession; its schema was checked by the apiserver."""

    metadata: Metadata
    spec: dict[str, Any]

    @model_validator(mode="after")
    def _is_one(self) -> AgentSession:
        try:
            read(self.model_dump())
        except UNREADABLE as error:
            raise ValueError(f"this is no AgentSession ({error!r})") from error
        return self


class BindRequest(_Strict):
    """`workspaceSource` and `gitSecret` are the files of the ConfigMap and of the Secret, in base64."""

    session: AgentSession
    environment: list[Variable] = []
    reddbToken: Text  # noqa: N815 - as in Kubernetes
    llmApiKey: str | None = None  # noqa: N815
    workspaceSource: dict[FileName, Content] | None = None  # noqa: N815
    gitSecret: dict[FileName, Content] | None = None  # noqa: N815

    @model_validator(mode="after")
    def _fits_a_command(self) -> BindRequest:
        size = sum(len(part.encode()) for each in self.environment for part in (each.name, each.value))
        if size > MAX_ENVIRONMENT_BYTES:
            raise ValueError(f"the environment has {size} bytes; commands take {MAX_ENVIRONMENT_BYTES}")
        return self

    def settings(self, unbound: Settings) -> Settings:
        """As a pod that was started for this session would have them. Writes the files to their places."""
        _write(unbound.workspace_source, self.workspaceSource)
        _write(unbound.git_secret_dir, self.gitSecret)
        return replace(
            unbound,
            session=self.session.model_dump_json(),
            reddb_token=self.reddbToken,
            llm_api_key=self.llmApiKey,
            runner_variables=tuple((each.name, each.value) for each in self.environment),
        )


def reasons(error: ValidationError) -> str:
    """What is wrong with a request, without a word of what it holds."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'the body'}: {each['msg']}"
        for each in error.errors(include_input=False, include_url=False, include_context=False)
    )


def _write(folder: Path, files: Mapping[str, bytes] | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if files is None:
        return
    folder.mkdir(mode=0o700)
    for name, content in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
