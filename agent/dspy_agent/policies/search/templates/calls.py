"""Calls: a sibling method or function, its optional arguments, a conversion put around a value or taken away."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dspy_agent.policies.search.templates.base import Proposal, Site, Template
from dspy_agent.policies.search.templates.names import add_argument

# Methods and functions that are mistaken for each other: any member may stand for any other.
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("strip", "lstrip", "rstrip"),
    ("lstrip", "removeprefix"),
    ("rstrip", "removesuffix"),
    ("find", "index", "rfind"),
    ("rfind", "rindex", "find"),
    ("index", "rindex", "find"),
    ("startswith", "endswith"),
    ("split", "rsplit", "splitlines"),
    ("partition", "rpartition"),
    ("lower", "casefold", "upper"),
    ("capitalize", "title", "lower"),
    ("isdigit", "isdecimal", "isnumeric", "isalnum", "isalpha"),
    ("append", "extend", "insert"),
    ("add", "update"),
    ("remove", "discard", "pop"),
    ("get", "pop", "setdefault"),
    ("keys", "values", "items"),
    ("union", "intersection", "difference", "symmetric_difference"),
    ("match", "fullmatch", "search"),
    ("findall", "finditer"),
    ("copy", "deepcopy"),
    ("min", "max"),
    ("any", "all"),
    ("sorted", "list", "reversed"),
    ("str", "repr", "ascii"),
    ("int", "float", "round"),
    ("ceil", "floor", "trunc"),
    ("quote", "quote_plus"),
    ("unquote", "unquote_plus"),
    ("read", "readline", "readlines"),
    ("isinstance", "issubclass"),
    ("getattr", "hasattr"),
    ("tuple", "list", "set"),
    ("encode", "decode"),
    ("dict", "OrderedDict"),
    ("seconds", "total_seconds()"),
    ("iteritems", "items"),
    ("time", "timetz"),
    ("now", "utcnow", "today"),
    ("timetuple", "utctimetuple"),
)
# callable → (argument to append when it has fewer than n arguments, prior)
OPTIONAL: dict[str, tuple[int, tuple[tuple[str, float], ...]]] = {
    "split": (2, (("1", 0.4),)),
    "rsplit": (2, (("1", 0.4),)),
    "replace": (3, (("1", 0.3),)),
    "get": (2, (("''", 0.2), ("{}", 0.2), ("[]", 0.2), ("0", 0.15), ("None", 0.1), ("False", 0.1))),
    "pop": (2, (("None", 0.4),)),
    "getattr": (3, (("None", 0.5),)),
    "next": (2, (("None", 0.4),)),
    "compile": (2, (("re.IGNORECASE", 0.2), ("re.MULTILINE", 0.2), ("re.DOTALL", 0.2), ("re.ASCII", 0.15))),
    "zip": (9, (("strict=True", 0.05),)),
    "dumps": (9, (("ensure_ascii=False", 0.2), ("default=str", 0.1))),
    "sorted": (2, (("key=str", 0.15), ("reverse=True", 0.15))),
    "sort": (1, (("key=str", 0.1), ("reverse=True", 0.15))),
    "splitlines": (1, (("True", 0.3),)),
    "strip": (1, (("' '", 0.1), ("'\\n'", 0.1))),
    "int": (2, (("16", 0.1), ("10", 0.05))),
    "enumerate": (2, (("1", 0.2),)),
    "open": (9, (("encoding='utf-8'", 0.3),)),
    "escape": (2, (("True", 0.05),)),
}
WRAPPERS = ("str", "list", "tuple", "int", "float", "set", "len", "sorted", "abs", "bool", "dict", "repr")
SUFFIXES = (
    ".strip()",
    ".lower()",
    ".upper()",
    ".copy()",
    ".rstrip()",
    ".lstrip()",
    ".items()",
    ".decode()",
    ".encode()",
    "[0]",
)


def sibling_calls(site: Site) -> Iterator[Proposal]:
    """`x.lstrip(p)` to `x.removeprefix(p)` and the rest of FAMILIES."""
    for node in site.expressions:
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Store):
            name, prefix = node.attr, site.text(node.value) + "."
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            name, prefix = node.id, ""
        else:
            continue
        parent = site.source.parents.get(node)
        if not (isinstance(parent, ast.Call) or name == "seconds"):
            continue
        for family in FAMILIES:
            for other in family if name in family else ():
                if other != name:
                    yield site.replace(node, prefix + other, 0.4)


def optional_arguments(site: Site) -> Iterator[Proposal]:
    """An optional argument of a well-known callable, from OPTIONAL."""
    for node in site.expressions:
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            limit, arguments = OPTIONAL.get(name, (0, ()))
            for text, prior in arguments if len(node.args) + len(node.keywords) < limit else ():
                yield add_argument(site, node, text, prior)


def subscript_to_get(site: Site) -> Iterator[Proposal]:
    """`d[k]` to `d.get(k)` and back."""
    prior = 0.5 if site.hints.raised("KeyError") else 0.06
    for node in site.expressions:
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Load)
            and not isinstance(node.slice, ast.Slice)
        ):
            value, key = site.operand(node.value), site.text(node.slice)
            yield site.replace(node, f"{value}.get({key})", prior)
            for default in ("''", "0", "[]", "{}", key):
                yield site.replace(node, f"{value}.get({key}, {default})", prior * 0.6)
        method = node.func if isinstance(node, ast.Call) else None
        if (
            isinstance(node, ast.Call)
            and isinstance(method, ast.Attribute)
            and method.attr == "get"
            and node.args
        ):
            yield site.replace(node, f"{site.text(method.value)}[{site.text(node.args[0])}]", 0.1)


def conversions(site: Site) -> Iterator[Proposal]:
    """A value wrapped: `str(x)`, `list(x)`, `x.strip()`; a conversion removed: `f(x)` to `x`, `x.m()` to `x`."""
    for node in site.expressions:
        if isinstance(getattr(node, "ctx", ast.Load()), ast.Store | ast.Del) or isinstance(
            node, ast.Starred | ast.Slice
        ):
            continue
        if isinstance(node, ast.Call):
            yield from _unwrapped(site, node)
        parent = site.source.parents.get(node)
        if isinstance(parent, ast.Call) and parent.func is node:
            continue
        if isinstance(
            node, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.GeneratorExp | ast.BinOp
        ):
            yield from _wrapped(site, node)


def _unwrapped(site: Site, node: ast.Call) -> Iterator[Proposal]:
    if (
        len(node.args) == 1
        and not node.keywords
        and not isinstance(node.args[0], ast.GeneratorExp | ast.Starred)
    ):
        yield site.replace(node, site.operand(node.args[0]), 0.2)
    if isinstance(node.func, ast.Attribute) and not (isinstance(node.func.value, ast.Name) and node.args):
        yield site.replace(node, site.text(node.func.value), 0.15)


def _wrapped(site: Site, node: ast.expr) -> Iterator[Proposal]:
    raised = site.hints.raised("TypeError", "AttributeError", "ValueError")
    for name in WRAPPERS:
        prior = 0.2 if name in ("str", "list", "int") and raised else 0.1 if name in ("str", "list") else 0.05
        yield site.replace(node, f"{name}({site.text(node)})", prior)
    if isinstance(node, ast.GeneratorExp):
        return
    for suffix in SUFFIXES:
        yield site.replace(node, site.operand(node) + suffix, 0.07)
    if "re" in site.project.imports.get(site.source.path, ()):
        yield site.replace(node, f"re.escape({site.text(node)})", 0.15)
    if "copy" in site.project.imports.get(site.source.path, ()):
        yield site.replace(node, f"copy.copy({site.text(node)})", 0.15)
        yield site.replace(node, f"copy.deepcopy({site.text(node)})", 0.15)


def iterables(site: Site) -> Iterator[Proposal]:
    """The iterable of a loop copied, sorted, reversed; a filter added to a comprehension."""
    loops: list[ast.For | ast.AsyncFor | ast.comprehension] = []
    if isinstance(site.statement, ast.For | ast.AsyncFor):
        loops.append(site.statement)
    for node in site.expressions:
        loops += getattr(node, "generators", [])
    for loop in loops:
        text = site.text(loop.iter)
        yield site.replace(loop.iter, f"list({text})", 0.2)
        yield site.replace(loop.iter, f"sorted({text})", 0.12)
        yield site.replace(loop.iter, f"reversed({text})", 0.15)
        yield site.replace(loop.iter, f"{site.operand(loop.iter)}.items()", 0.1)
        if isinstance(loop, ast.comprehension) and not loop.ifs and isinstance(loop.target, ast.Name):
            yield site.replace(loop.iter, f"{text} if {loop.target.id}", 0.3)
            yield site.replace(loop.iter, f"{text} if {loop.target.id} is not None", 0.2)


TEMPLATES: dict[str, Template] = {
    "sibling-call": sibling_calls,
    "optional-argument": optional_arguments,
    "subscript-get": subscript_to_get,
    "conversion": conversions,
    "iterable": iterables,
}
