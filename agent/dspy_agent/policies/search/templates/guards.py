"""Guards put before a statement, exceptions caught or widened, mutable defaults."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dspy_agent.policies.search.templates.base import Proposal, Site, Template

CATCHABLE = (
    "TypeError", "ValueError", "KeyError", "IndexError", "AttributeError", "ZeroDivisionError", "UnicodeDecodeError",
    "UnicodeEncodeError", "OverflowError", "StopIteration", "OSError", "RuntimeError", "ImportError", "LookupError",
)  # fmt: skip
RETURNS = 6
GUARDED_TYPES = ("int", "float", "str", "bytes", "list", "tuple", "dict", "set", "bool")


def early_exit(site: Site) -> Iterator[Proposal]:
    """`if not x: return ...` (or continue, or raise) before the statement."""
    if not _insertable(site) or site.function is None:
        return
    exits = _exits(site)
    names = [name for name in [*site.read, *site.locals] if name not in ("self", "cls")]
    for rank, name in enumerate(dict.fromkeys(names)):
        if rank >= 4:
            break
        base = 0.3 if name in site.hints.none_names else 0.15 if rank == 0 else 0.08
        for predicate, weight in (
            (f"not {name}", 1.0),
            (f"{name} is None", 0.9),
            (name, 0.3),
            (f"{name} is not None", 0.3),
        ):
            for text, prior in exits:
                yield _guard(site, predicate, text.replace("{name}", name), base * weight * prior)


def type_exits(site: Site) -> Iterator[Proposal]:
    """`if isinstance(x, T): return x` for a parameter that a failing test passed as a T."""
    if not _insertable(site) or site.function is None or site.function.body[0] is not _first(site):
        return
    for name in site.read[:2]:
        for kind in [kind for kind in GUARDED_TYPES if kind in site.hints.types]:
            for text in (f"return {name}", f"return str({name})"):
                yield _guard(site, f"isinstance({name}, {kind})", text, 0.1)


def _first(site: Site) -> ast.stmt:
    """The statement itself, or the docstring when it follows one."""
    body = site.source.block_of(site.statement)
    index = body.index(site.statement)
    return body[0] if index == 1 and _is_docstring(body[0]) else site.statement


def _guard(site: Site, predicate: str, body: str, prior: float) -> Proposal:
    return Proposal((site.source.insert_before(site.statement, f"if {predicate}:\n    {body}"),), prior)


def _exits(site: Site) -> list[tuple[str, float]]:
    assert site.function is not None  # noqa: S101 - the caller asked; this narrows the type
    known = set(site.locals) | {"None", "True", "False", "self"}
    found = []
    for node in ast.walk(site.function):
        if isinstance(node, ast.Return) and node.value is not None:
            names = {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
            if names <= known and "\n" not in site.text(node):
                found.append(site.text(node))
    exits = [(text, 1.0) for text in list(dict.fromkeys(found))[:RETURNS]]
    exits += [
        ("return", 0.7),
        ("return {name}", 0.8),
        ("return ''", 0.5),
        ("return []", 0.4),
        ("return False", 0.4),
    ]
    if any(isinstance(parent, ast.For | ast.While) for parent in site.source.ancestors(site.statement)):
        exits += [("continue", 1.0), ("break", 0.6)]
    exits += [(f"raise {name}()", 1.0) for name in site.hints.expected[:2]]
    return exits


def defaults(site: Site) -> Iterator[Proposal]:
    """`if x is None: x = []` before the statement, for names that are None in the traceback."""
    if _insertable(site):
        for name in site.read:
            prior = 0.3 if name in site.hints.none_names else 0.05
            for value in ("''", "[]", "{}", "0"):
                yield _guard(site, f"{name} is None", f"{name} = {value}", prior)
            yield Proposal((site.source.insert_before(site.statement, f"{name} = list({name})"),), 0.08)
            yield Proposal((site.source.insert_before(site.statement, f"{name} = str({name})"),), 0.06)


def caught(site: Site) -> Iterator[Proposal]:
    """The raised exception caught around the statement, in the way that the block allows."""
    raised = [name for name in site.hints.exceptions if name in CATCHABLE]
    if isinstance(site.statement, ast.Try):
        yield from _widened(site, raised)
    if not raised or not _insertable(site) or "\n" in site.text(site.statement) or site.function is None:
        return
    indent = site.source.indent(site.statement)
    exits = ["pass", "return None", *(text for text, _ in _exits(site)[:3]), "raise"]
    exits += [f"raise {name}()" for name in site.hints.expected[:2]]
    for name in raised[:2]:
        for text in dict.fromkeys(exits):
            body = text.replace("{name}", site.read[0] if site.read else "None")
            lines = ["try:", f"    {site.text(site.statement)}", f"except {name}:", f"    {body}"]
            joined = (site.source.newline + indent).join(lines)
            if text != "raise":
                yield site.replace(site.statement, joined, 0.12)


def _widened(site: Site, raised: list[str]) -> Iterator[Proposal]:
    assert isinstance(site.statement, ast.Try)  # noqa: S101 - the caller asked; this narrows the type
    for handler in site.statement.handlers:
        if handler.type is None:
            continue
        present = [
            site.text(kind)
            for kind in (handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type])
        ]
        for name in [*raised, *CATCHABLE[:5]]:
            if name not in present:
                prior = 0.6 if name in raised else 0.06
                yield site.replace(handler.type, "(" + ", ".join([*present, name]) + ")", prior)


def raised_type(site: Site) -> Iterator[Proposal]:
    """Another exception raised: the one that the failing test waits for."""
    if isinstance(site.statement, ast.Raise) and site.statement.exc is not None:
        error = site.statement.exc
        kind = error.func if isinstance(error, ast.Call) else error
        for name in [*site.hints.expected, *site.hints.exceptions]:
            if name != site.text(kind):
                yield site.replace(kind, name, 0.4)


def mutable_default(site: Site) -> Iterator[Proposal]:
    """`def f(x=[])` to `x=None` with the list made in the body."""
    function = site.function
    if function is None or function is not site.statement:
        return
    arguments = [*function.args.posonlyargs, *function.args.args]
    pairs = list(zip(reversed(arguments), reversed(function.args.defaults), strict=False))
    pairs += [
        (name, value)
        for name, value in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        if value
    ]
    body = [statement for statement in function.body if not _is_docstring(statement)]
    for argument, value in pairs:
        empty = isinstance(value, ast.List | ast.Dict | ast.Set | ast.Call)
        if empty and body and site.source.own_lines(body[0]):
            guard = f"if {argument.arg} is None:\n    {argument.arg} = {site.text(value)}"
            edits = (site.source.replace(value, "None"), site.source.insert_before(body[0], guard))
            yield Proposal(edits, 0.7)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _insertable(site: Site) -> bool:
    definition = isinstance(site.statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    return not definition and site.source.own_lines_before(site.statement)


TEMPLATES: dict[str, Template] = {
    "early-exit": early_exit,
    "type-exit": type_exits,
    "default": defaults,
    "catch": caught,
    "raised-type": raised_type,
    "mutable-default": mutable_default,
}
