"""Names: another variable or attribute, self., swapped, missing and superfluous arguments."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from difflib import SequenceMatcher

from dspy_agent.policies.search.source import BUILTINS, Edit
from dspy_agent.policies.search.templates.base import Proposal, Site, Template

NAMES_PER_USE = 8


def other_names(site: Site) -> Iterator[Proposal]:
    """A local name replaced by another one that is assigned by then, alike names first."""
    for node in site.expressions:
        if not isinstance(node, ast.Name) or node.id in BUILTINS or node.id not in site.locals:
            continue
        others = [name for name in site.locals if name not in (node.id, "self", "cls")]
        others.sort(key=lambda name: -_similarity(name, node.id))
        for name in others[:NAMES_PER_USE]:
            yield site.replace(node, name, 0.2 + 0.2 * _similarity(name, node.id))


def _similarity(first: str, second: str) -> float:
    return SequenceMatcher(None, first, second).ratio()


def self_attributes(site: Site) -> Iterator[Proposal]:
    """`x` to `self.x` and back, and one attribute of self for another."""
    owner = site.source.class_of(site.statement)
    known = site.project.self_attributes.get(owner, []) if owner else []
    for node in site.expressions:
        if isinstance(node, ast.Name) and node.id in known and "self" in site.locals:
            yield site.replace(node, f"self.{node.id}", 0.4)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            if node.attr in site.locals:
                yield site.replace(node, node.attr, 0.4)
            if _callee(site, node):
                continue
            alike = sorted(known, key=lambda name: -_similarity(name, node.attr))
            for name in [name for name in alike if name != node.attr][:NAMES_PER_USE]:
                yield site.replace(node, f"self.{name}", 0.1 + 0.2 * _similarity(name, node.attr))


def sibling_attributes(site: Site) -> Iterator[Proposal]:
    """`x.a` to `x.b` where b is read from x elsewhere in the program; `x.a` to `x`."""
    for node in site.expressions:
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Store):
            continue
        base = node.value
        if isinstance(base, ast.Name) and base.id not in ("self", "cls"):
            alike = sorted(
                site.project.attributes.get(base.id, ()),
                key=lambda name: (-_similarity(name, node.attr), name),
            )
            for name in [name for name in alike if name != node.attr][:NAMES_PER_USE]:
                yield site.replace(node, f"{base.id}.{name}", 0.1 + 0.2 * _similarity(name, node.attr))


def swapped_arguments(site: Site) -> Iterator[Proposal]:
    """Two neighbouring arguments exchanged."""
    for node in site.expressions:
        if isinstance(node, ast.Call):
            for first, second in zip(node.args, node.args[1:], strict=False):
                edits = (
                    site.source.replace(first, site.text(second)),
                    site.source.replace(second, site.text(first)),
                )
                yield Proposal(edits, 0.2)


def missing_arguments(site: Site) -> Iterator[Proposal]:
    """A parameter that the callee has and the caller knows by the same name, but does not pass on."""
    for node in site.expressions:
        if not isinstance(node, ast.Call):
            continue
        callee = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if callee == "cls" or site.text(node.func) in ("self.__class__", "type(self)"):
            owner = site.source.class_of(site.statement)
            callee = owner.name if owner else callee
        parameters = site.project.signatures.get(callee, [])
        passed = {keyword.arg for keyword in node.keywords} | set(parameters[: len(node.args)])
        for name in parameters:
            if name not in passed:
                yield from _pass_on(site, node, name)
        yield from _pass_variadic(site, node)


def _pass_on(site: Site, call: ast.Call, name: str) -> Iterator[Proposal]:
    if name in site.locals:
        yield add_argument(site, call, f"{name}={name}", 0.75)
    if "self" in site.locals:
        owner = site.source.class_of(site.statement)
        known = site.project.self_attributes.get(owner, []) if owner else []
        for attribute in (name, f"_{name}"):
            if attribute in known:
                yield add_argument(site, call, f"{name}=self.{attribute}", 0.7)
    for value in ("True", "False", "None"):
        yield add_argument(site, call, f"{name}={value}", 0.12)


def _pass_variadic(site: Site, call: ast.Call) -> Iterator[Proposal]:
    arguments = site.function.args if site.function else None
    if arguments and arguments.kwarg and not any(keyword.arg is None for keyword in call.keywords):
        yield add_argument(site, call, f"**{arguments.kwarg.arg}", 0.3)
    if arguments and arguments.vararg and not any(isinstance(value, ast.Starred) for value in call.args):
        yield add_argument(site, call, f"*{arguments.vararg.arg}", 0.2)


def add_argument(site: Site, call: ast.Call, text: str, prior: float) -> Proposal:
    """Append an argument to a call, whatever stands before its closing parenthesis."""
    end = site.source.span(call)[1] - 1
    given = [*call.args, *call.keywords]
    if not given:
        return Proposal((Edit(end, end, text),), prior)
    last = max(site.source.span(part)[1] for part in given)
    if len(given) == 1 and isinstance(given[0], ast.GeneratorExp):
        return Proposal((Edit(end, end, f", {text}"),), prior / 10)
    return Proposal((Edit(last, last, f", {text}"),), prior)


def dropped_arguments(site: Site) -> Iterator[Proposal]:
    """A superfluous argument removed."""
    for node in site.expressions:
        if not isinstance(node, ast.Call):
            continue
        given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
        for index, part in enumerate(given):
            start, end = site.source.span(part)
            if len(given) == 1:
                yield Proposal((Edit(start, end, ""),), 0.1)
            elif index:
                yield Proposal((Edit(site.source.span(given[index - 1])[1], end, ""),), 0.12)
            else:
                yield Proposal((Edit(start, site.source.span(given[1])[0], ""),), 0.12)


def _callee(site: Site, node: ast.expr) -> bool:
    parent = site.source.parents.get(node)
    return isinstance(parent, ast.Call) and parent.func is node


TEMPLATES: dict[str, Template] = {
    "other-name": other_names,
    "self-attribute": self_attributes,
    "sibling-attribute": sibling_attributes,
    "swapped-arguments": swapped_arguments,
    "missing-argument": missing_arguments,
    "dropped-argument": dropped_arguments,
}
