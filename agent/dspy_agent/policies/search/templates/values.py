"""Values: off-by-one in bounds, slices and constants, arithmetic operators, defaults for None."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dspy_agent.policies.search.source import Edit
from dspy_agent.policies.search.templates.base import Proposal, Site, Template

ARITHMETIC: dict[type[ast.operator], tuple[tuple[str, float], ...]] = {
    ast.Add: (("-", 0.3),),
    ast.Sub: (("+", 0.3),),
    ast.Mult: (("/", 0.15), ("**", 0.1)),
    ast.Div: (("//", 0.4), ("*", 0.15)),
    ast.FloorDiv: (("/", 0.4),),
    ast.Mod: (("//", 0.15),),
    ast.BitAnd: (("|", 0.3),),
    ast.BitOr: (("&", 0.3), ("^", 0.1)),
    ast.LShift: ((">>", 0.3),),
    ast.RShift: (("<<", 0.3),),
}
TOKENS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&",
    ast.BitOr: "|", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
EMPTY_DEFAULTS = ("''", "[]", "{}", "()", "0")


def integer_constants(site: Site) -> Iterator[Proposal]:
    """n to n+1, n-1, -n; booleans flipped."""
    for node in site.expressions:
        if not isinstance(node, ast.Constant):
            continue
        if isinstance(node.value, bool):
            yield site.replace(node, str(not node.value), 0.4)
        elif isinstance(node.value, int) and site.text(node).isdigit():
            prior = 0.35 if node.value <= 4 else 0.15
            yield site.replace(node, str(node.value + 1), prior)
            if node.value > 0:
                yield site.replace(node, str(node.value - 1), prior)
            if isinstance(site.source.parents.get(node), ast.Subscript):
                yield site.replace(node, "-1" if node.value == 0 else f"-{node.value}", 0.3)


def arithmetic(site: Site) -> Iterator[Proposal]:
    """Operators exchanged, operands swapped, an operand dropped."""
    for node in site.expressions:
        if not isinstance(node, ast.BinOp) or type(node.op) not in TOKENS:
            continue
        gap = (site.source.span(node.left)[1], site.source.span(node.right)[0])
        middle, token = site.source.text[slice(*gap)], TOKENS[type(node.op)]
        if middle.count(token) != 1:
            continue
        for text, prior in ARITHMETIC[type(node.op)]:
            yield Proposal((Edit(*gap, middle.replace(token, text)),), prior)
        left, right = site.text(node.left), site.text(node.right)
        simple = isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant)
        if not simple:  # '...' % values is formatting
            yield site.replace(node, left, 0.12)
            yield site.replace(node, right, 0.12)
            if isinstance(node.op, ast.Sub | ast.Div | ast.Add | ast.FloorDiv):
                yield site.replace(
                    node, f"{site.operand(node.right)} {token} {site.operand(node.left)}", 0.15
                )


def augmented(site: Site) -> Iterator[Proposal]:
    """`x /= 2` to `x //= 2`, `x += 1` to `x -= 1` or `x = 1`."""
    statement = site.statement
    if isinstance(statement, ast.AugAssign) and type(statement.op) in TOKENS:
        gap = (site.source.span(statement.target)[1], site.source.span(statement.value)[0])
        middle, token = site.source.text[slice(*gap)], TOKENS[type(statement.op)]
        for text, prior in (*ARITHMETIC[type(statement.op)], ("", 0.1)):
            yield Proposal((Edit(*gap, middle.replace(token, text)),), prior)


def off_by_one(site: Site) -> Iterator[Proposal]:
    """`e` to `e + 1` and `e - 1` where e is a bound: in range, in a slice, in an index, in a comparison."""
    for node in site.expressions:
        if not isinstance(node, ast.Name | ast.Call | ast.BinOp | ast.Attribute):
            continue
        parent = site.source.parents.get(node)
        bound = isinstance(parent, ast.Slice | ast.Compare) or (
            isinstance(parent, ast.Subscript) and parent.slice is node
        )
        in_range = isinstance(parent, ast.Call) and node in parent.args and site.text(parent.func) == "range"
        if bound or in_range:
            prior = 0.12 if isinstance(parent, ast.Compare) else 0.3
            yield site.replace(node, f"{site.text(node)} + 1", prior)
            yield site.replace(node, f"{site.text(node)} - 1", prior)


def slices(site: Site) -> Iterator[Proposal]:
    """A bound dropped or added, an index turned into a slice and back."""
    for node in site.expressions:
        if not isinstance(node, ast.Subscript):
            continue
        value, index = site.text(node.value), node.slice
        if isinstance(index, ast.Slice):
            lower = site.text(index.lower) if index.lower else ""
            upper = site.text(index.upper) if index.upper else ""
            if lower and not upper:
                yield site.replace(node, f"{value}[:{lower}]", 0.2)
            if upper and not lower:
                yield site.replace(node, f"{value}[{upper}:]", 0.2)
                yield site.replace(node, f"{value}[1:{upper}]", 0.15)
            if lower and not upper:
                yield site.replace(node, f"{value}[{lower}:-1]", 0.15)
            yield site.replace(node, value, 0.15)
        elif not isinstance(node.ctx, ast.Store):
            yield site.replace(index, f"{site.text(index)}:", 0.08)
            yield site.replace(index, f":{site.text(index)}", 0.08)


def none_defaults(site: Site) -> Iterator[Proposal]:
    """`x` to `(x or '')` and `x.get(k)` to `x.get(k, '')`, where None may arrive."""
    likely = site.hints.raised("TypeError", "AttributeError")
    for node in site.expressions:
        if not isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            continue
        if isinstance(getattr(node, "ctx", ast.Load()), ast.Store | ast.Del) or _is_callee(site, node):
            continue
        prior = 0.35 if site.mentions(node) else 0.2 if likely else 0.06
        for default in EMPTY_DEFAULTS:
            yield site.replace(node, f"({site.text(node)} or {default})", prior)
    function = site.function
    if function is site.statement and function is not None:
        for value in [*function.args.defaults, *function.args.kw_defaults]:
            if isinstance(value, ast.Constant):
                for other in ("None", "''", "True", "False", "0", "1", "()"):
                    if other != site.text(value):
                        yield site.replace(value, other, 0.12)


def returned_constants(site: Site) -> Iterator[Proposal]:
    """A returned or assigned None, True, '' ... replaced by another empty value."""
    value = getattr(site.statement, "value", None)
    if not isinstance(site.statement, ast.Return | ast.Assign):
        return
    if isinstance(value, ast.Constant) or (
        isinstance(value, ast.List | ast.Dict | ast.Tuple) and not site.read
    ):
        for other in ("None", "''", "[]", "{}", "0", "1", "True", "False"):
            if value is not None and other != site.text(value):
                yield site.replace(value, other, 0.15)
        for name in site.locals:
            if value is not None and name != "self":
                yield site.replace(value, name, 0.15)


def clamped(site: Site) -> Iterator[Proposal]:
    """A value kept within bounds: max(0, e), abs(e), min with another length."""
    for node in site.expressions:
        parent = site.source.parents.get(node)
        in_slice = isinstance(parent, ast.Slice)
        used = isinstance(node, ast.BinOp) or (in_slice and isinstance(node, ast.Name))
        if used and not isinstance(getattr(node, "op", None), ast.Mod):
            text = site.text(node)
            yield site.replace(node, f"max({text}, 0)", 0.15)
            yield site.replace(node, f"max({text}, 1)", 0.08)
            yield site.replace(node, f"abs({text})", 0.12)


def _is_callee(site: Site, node: ast.expr) -> bool:
    parent = site.source.parents.get(node)
    return (isinstance(parent, ast.Call) and parent.func is node) or (
        isinstance(parent, ast.Attribute) and isinstance(node, ast.Name) and node.id in ("self", "cls")
    )


TEMPLATES: dict[str, Template] = {
    "integer-constant": integer_constants,
    "arithmetic": arithmetic,
    "augmented-assignment": augmented,
    "off-by-one": off_by_one,
    "slice": slices,
    "none-default": none_defaults,
    "returned-constant": returned_constants,
    "clamp": clamped,
}
