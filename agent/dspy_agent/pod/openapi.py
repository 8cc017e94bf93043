"""The OpenAPI document of the session's HTTP interface; contracts/http/agent.yaml is its export."""

from __future__ import annotations

from typing import Any

from dspy_agent import __version__
from dspy_agent.pod.bind import BindRequest
from dspy_agent.pod.front import LONGEST_WAIT_SECONDS
from dspy_agent.pod.server import MAX_EVENTS, PHASES

Document = dict[str, Any]


def document() -> Document:
    """OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DSPy Agent session",
            "version": __version__,
            "description": "What one AgentSession is doing. Its pod serves this on port 9000.",
        },
        "paths": {
            "/healthz": {"get": _get("The process answers.", "Status")},
            "/readyz": {"get": _get("The workspace is ready.", "Status", _problem("503", "Not ready yet."))},
            "/metrics": {"get": _metrics()},
            "/v1/session": {
                "get": _get("The session and its phase.", "Session", _unauthorized(), secured=True)
            },
            "/v1/events": {"get": _events()},
            "/v1/bind": {"post": _bind()},
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": _bind_request()
            | {
                "Status": _object({"status": {"type": "string"}}),
                "Session": _object(
                    {name: {"type": "string"} for name in ("name", "namespace", "policy")} | _PHASE
                ),
                "Events": _object(
                    {
                        "events": {"type": "array", "items": {"$ref": "../events/session-event.schema.json"}},
                        "next": {"type": "integer", "description": "Pass it as `after` to go on."},
                    }
                ),
                "Bound": _object({"state": {"type": "string", "enum": ["Preparing", "Ready", "Finished"]}}),
                "Error": _object(
                    {"error": _object({"code": {"type": "string"}, "message": {"type": "string"}})}
                ),
            },
        },
    }


_PHASE: Document = {"phase": {"type": "string", "enum": list(PHASES)}}


def _events() -> Document:
    after = {"type": "integer", "minimum": 0, "default": 0}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_EVENTS, "default": MAX_EVENTS}
    problems = (
        _problem("400", "A parameter is wrong.") | _unauthorized() | _problem("503", "RedDB does not answer.")
    )
    operation = _get("Events with a seq above `after`, in order.", "Events", problems, secured=True)
    operation["parameters"] = [
        {"name": "after", "in": "query", "schema": after},
        {"name": "limit", "in": "query", "schema": limit},
    ]
    return operation


def _bind() -> Document:
    """The one route that has another token."""
    wait = {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS, "default": 0}
    problems = (
        _problem("401", "The bind token is missing or wrong.")
        | _problem("409", "BoundToAnother: the agent has another session.")
        | _problem("413", "The request is larger than 4 MiB.")
        | _problem("422", "The request is wrong; the message says where.")
    )
    summary = "Give a pool's agent its session; the same session again tells its state."
    operation = _get(summary, "Bound", problems, secured=True)
    operation["parameters"] = [{"name": "waitSeconds", "in": "query", "schema": wait}]
    operation["requestBody"] = {"required": True, "content": _json("BindRequest")}
    return operation


def _bind_request() -> Document:
    schema = BindRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: Document = schema.pop("$defs")
    return {**parts, "BindRequest": schema}


def _get(summary: str, schema: str, problems: Document | None = None, *, secured: bool = False) -> Document:
    operation: Document = {
        "summary": summary,
        "responses": {"200": {"description": summary, "content": _json(schema)}} | (problems or {}),
    }
    return operation | ({"security": [{"bearer": []}]} if secured else {})


def _metrics() -> Document:
    summary = "Prometheus metrics."
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {"200": {"description": summary, "content": content}}}


def _problem(status: str, description: str) -> Document:
    return {status: {"description": description, "content": _json("Error")}}


def _unauthorized() -> Document:
    return _problem("401", "The token is missing or wrong.")


def _json(schema: str) -> Document:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _object(properties: Document) -> Document:
    return {"type": "object", "properties": properties, "required": sorted(properties)}
