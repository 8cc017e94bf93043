"""Arguments of calls, which a model may have made up: each is checked, and refused with what to give instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, TypeGuard

from dspy_agent.errors import ToolError

STRINGS = {"type": "array", "items": {"type": "string"}}  # JSON schema
MAX_SECONDS = 86_400.0  # as long as the runner lets a command run


def clean_path(path: object) -> str:
    """A relative path inside the workspace. The runner refuses escapes too; this names the reason."""
    if not is_text(path) or not path or "\0" in path:
        raise ToolError("PathInvalid", "Give the path of a file relative to the workspace.")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ToolError("PathInvalid", f"{path!r} leaves the workspace; give a path relative to it.")
    return str(pure)


def is_text(value: object) -> TypeGuard[str]:
    """Whether the value is a string that UTF-8 can carry: half of a surrogate pair, which JSON can hold, it cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_argument(arguments: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A string argument; ToolError when it is missing or of another type."""
    value = arguments.get(name, default)
    if value is None:
        value = default
    if not is_text(value):
        raise ToolError("ArgumentInvalid", f"Give {name} as a string.")
    return value


def seconds_argument(arguments: Mapping[str, Any], name: str, default: float) -> float:
    """A positive number of seconds, at most a day."""
    value = arguments.get(name)
    if value is None:
        return default
    # False for what is no number of seconds at all, nan included.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS:
        raise ToolError("ArgumentInvalid", f"Give {name} as a number above 0 and at most {MAX_SECONDS:g}.")
    return float(value)


def whole_argument(arguments: Mapping[str, Any], name: str, default: int, maximum: int) -> int:
    """A whole number from 1 to `maximum`."""
    value = arguments.get(name)
    if value is None:
        return min(default, maximum)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 1 <= value <= maximum
        or value % 1
    ):
        raise ToolError("ArgumentInvalid", f"Give {name} as a whole number from 1 to {maximum}.")
    return int(value)


def strings_argument(arguments: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of strings; empty when it is not given."""
    value = arguments.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(map(is_text, value)):
        raise ToolError("ArgumentInvalid", f"Give {name} as a list of strings.")
    return tuple(value)


def argv_argument(arguments: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """An argument array with at least the command."""
    argv = strings_argument(arguments, name)
    if not argv:
        raise ToolError(
            "ArgumentInvalid", f"Give {name} as a list of strings: the command and its arguments."
        )
    return argv
