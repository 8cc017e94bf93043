"""Conditions: comparison and boolean operators, negation, truthiness against None, stronger and weaker guards."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dspy_agent.policies.search.source import Edit, loaded_names
from dspy_agent.policies.search.templates.base import Proposal, Site, Template

# operator → (replacement, prior): the first is the usual slip (a bound), the last the reversal.
COMPARISONS: dict[type[ast.cmpop], tuple[tuple[str, float], ...]] = {
    ast.Lt: (("<=", 0.5), (">", 0.15), (">=", 0.1), ("!=", 0.1)),
    ast.LtE: (("<", 0.5), (">=", 0.1), (">", 0.1), ("==", 0.1)),
    ast.Gt: ((">=", 0.5), ("<", 0.15), ("<=", 0.1), ("!=", 0.1)),
    ast.GtE: ((">", 0.5), ("<=", 0.1), ("<", 0.1), ("==", 0.1)),
    ast.Eq: (("!=", 0.25), ("is", 0.1), ("in", 0.15), (">=", 0.2), ("<=", 0.2)),
    ast.NotEq: (("==", 0.25), ("is not", 0.1), ("not in", 0.15), (">", 0.1), ("<", 0.1)),
    ast.Is: (("==", 0.4), ("is not", 0.25)),
    ast.IsNot: (("!=", 0.4), ("is", 0.25)),
    ast.In: (("not in", 0.25), ("==", 0.15)),
    ast.NotIn: (("in", 0.25), ("!=", 0.15)),
}
TOKENS = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is",
    ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
RELATED_TYPES = {
    "str": ("bytes", "type(None)"), "bytes": ("str", "bytearray"), "list": ("tuple", "set"), "tuple": ("list",),
    "int": ("float",), "float": ("int",), "dict": ("list",), "set": ("frozenset", "list"),
}  # fmt: skip
GUARDS_PER_STATEMENT = 12


def conditions_of(site: Site) -> list[ast.expr]:
    """Expressions of the statement that are used for their truth."""
    tests = [site.test] if site.test is not None else []
    for node in site.expressions:
        if isinstance(node, ast.IfExp):
            tests.append(node.test)
        elif isinstance(node, ast.BoolOp):
            tests += node.values
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            tests.append(node.operand)
    for part in ast.walk(site.statement):
        if isinstance(part, ast.comprehension) and any(test in site.expressions for test in part.ifs):
            tests += part.ifs
    if isinstance(site.statement, ast.Return) and isinstance(site.statement.value, ast.Compare | ast.BoolOp):
        tests.append(site.statement.value)
    return list(dict.fromkeys(tests))


def comparison_operators(site: Site) -> Iterator[Proposal]:
    """`<` to `<=` and the rest of COMPARISONS."""
    for node in site.expressions:
        if not isinstance(node, ast.Compare):
            continue
        parts = [node.left, *node.comparators]
        for index, operator in enumerate(node.ops):
            gap = (site.source.span(parts[index])[1], site.source.span(parts[index + 1])[0])
            middle = site.source.text[slice(*gap)]
            token = TOKENS[type(operator)]
            if middle.count(token) != 1:
                continue
            for text, prior in COMPARISONS[type(operator)]:
                yield _in_gap(gap, middle.replace(token, text), prior)


def _in_gap(gap: tuple[int, int], text: str, prior: float) -> Proposal:
    return Proposal((Edit(*gap, text),), prior)


def boolean_operators(site: Site) -> Iterator[Proposal]:
    """`and` to `or` and back; one operand dropped."""
    for node in site.expressions:
        if not isinstance(node, ast.BoolOp):
            continue
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        texts = [
            site.operand(value) if isinstance(value, ast.BoolOp) else site.text(value)
            for value in node.values
        ]
        yield site.replace(node, "(" + f" {new} ".join(texts) + ")", 0.3)
        for index in range(len(texts)):
            kept = f" {old} ".join(texts[:index] + texts[index + 1 :])
            yield site.replace(node, kept, 0.3)


def negation(site: Site) -> Iterator[Proposal]:
    """`x` to `not x` and back, in conditions."""
    for node in conditions_of(site):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield site.replace(node, site.text(node.operand), 0.3)
        elif not isinstance(node, ast.Compare):
            yield site.replace(node, f"not {site.operand(node)}", 0.25)


def truthiness(site: Site) -> Iterator[Proposal]:
    """`if x` against `if x is not None`, the confusion of empty with absent."""
    for node in conditions_of(site):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            if isinstance(node.operand, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
                yield site.replace(node, f"{site.text(node.operand)} is None", 0.7)
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
            yield site.replace(node, f"{site.text(node)} is not None", 0.7)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            right = node.comparators[0]
            if isinstance(right, ast.Constant) and right.value in (None, "", 0):
                positive = isinstance(node.ops[0], ast.IsNot | ast.NotEq | ast.Gt)
                yield site.replace(node, f"{'' if positive else 'not '}{site.operand(node.left)}", 0.4)
                yield site.replace(node, f"{site.text(node.left)} is {'not ' if positive else ''}None", 0.2)
    for node in site.expressions:
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and len(node.values) == 2:
            left, right = node.values
            if isinstance(left, ast.Name | ast.Attribute):
                name = site.text(left)
                yield site.replace(node, f"({name} if {name} is not None else {site.text(right)})", 0.5)


def guards(site: Site) -> Iterator[Proposal]:
    """Strengthen or weaken a condition by a predicate over names in scope."""
    for node in conditions_of(site):
        for predicate, prior in _predicates(site, node):
            if predicate.removeprefix("not ") == site.text(node).removeprefix("not "):
                continue  # `x or not x` is no condition
            yield site.replace(node, f"{_tight(site, node)} and {predicate}", prior)
            yield site.replace(node, f"{_tight(site, node, 'or')} or {predicate}", prior)
            if isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.BoolOp):
                yield site.replace(node, f"{predicate} and {_tight(site, node)}", prior * 0.8)


def _tight(site: Site, node: ast.expr, operator: str = "and") -> str:
    loose = isinstance(node, ast.IfExp | ast.Lambda | ast.NamedExpr)
    loose = loose or (isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) == (operator == "and"))
    return f"({site.text(node)})" if loose else site.text(node)


def _predicates(site: Site, node: ast.expr) -> Iterator[tuple[str, float]]:
    """Predicates over what the condition reads first, then over other names, then the function's own conditions."""
    near = [site.text(part) for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)]
    near = [text for text in dict.fromkeys(near) if text in site.locals or text.startswith("self.")]
    far = [name for name in site.locals if name not in near and name != "self"]
    for name, prior in [(name, 0.4) for name in near[:3]] + [(name, 0.2) for name in far[-6:]]:
        if name in ("self", "cls"):
            continue
        yield name, prior
        yield f"not {name}", prior * 0.9
        yield f"{name} is not None", prior * (0.9 if name in site.hints.none_names else 0.5)
        yield f"{name} is None", prior * 0.5
    for text in _sibling_conditions(site, node):
        yield text, 0.25


def _sibling_conditions(site: Site, node: ast.expr) -> list[str]:
    if site.function is None:
        return []
    texts = []
    for other in ast.walk(site.function):
        if isinstance(other, ast.Compare | ast.Call) and other is not node:
            in_test = isinstance(
                site.source.parents.get(other), ast.If | ast.BoolOp | ast.While | ast.UnaryOp
            )
            if in_test and set(loaded_names(other)) & set(site.locals):
                texts.append(site.text(other))
    return [text for text in dict.fromkeys(texts) if "\n" not in text][:GUARDS_PER_STATEMENT]


def isinstance_types(site: Site) -> Iterator[Proposal]:
    """`isinstance(x, list)` to `isinstance(x, (list, tuple))`, `type(x) == T` to isinstance."""
    for node in site.expressions:
        if isinstance(node, ast.Call) and site.text(node.func) == "isinstance" and len(node.args) == 2:
            yield from _widen(site, node.args[1])
        if not (isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.left, ast.Call)):
            continue
        if site.text(node.left.func) == "type" and len(node.left.args) == 1:
            subject, kind = site.text(node.left.args[0]), site.text(node.comparators[0])
            no = "not " if isinstance(node.ops[0], ast.NotEq | ast.IsNot) else ""
            yield site.replace(node, f"{no}isinstance({subject}, {kind})", 0.6)


def _widen(site: Site, kinds: ast.expr) -> Iterator[Proposal]:
    present = [site.text(kind) for kind in (kinds.elts if isinstance(kinds, ast.Tuple) else [kinds])]
    seen = [kind for kind in sorted(site.hints.types) if kind in RELATED_TYPES]
    related = [other for kind in present for other in RELATED_TYPES.get(kind, ())]
    for kind in dict.fromkeys([*related, *seen]):
        if kind not in present:
            prior = 0.5 if kind in site.hints.types else 0.35
            yield site.replace(kinds, "(" + ", ".join([*present, kind]) + ")", prior)
    for kind in present if len(present) > 1 else []:
        rest = [other for other in present if other != kind]
        yield site.replace(kinds, rest[0] if len(rest) == 1 else "(" + ", ".join(rest) + ")", 0.1)


def constant_conditions(site: Site) -> Iterator[Proposal]:
    """Force a condition: seldom the repair, but it tells that the branch matters."""
    if isinstance(site.statement, ast.If):
        yield site.replace(site.statement.test, "True", 0.03)
        yield site.replace(site.statement.test, "False", 0.03)


TEMPLATES: dict[str, Template] = {
    "comparison-operator": comparison_operators,
    "boolean-operator": boolean_operators,
    "negation": negation,
    "truthiness": truthiness,
    "guard": guards,
    "isinstance": isinstance_types,
    "constant-condition": constant_conditions,
}
