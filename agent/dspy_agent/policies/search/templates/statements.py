"""Statements: deleted, moved, copied from a sibling, returned instead of dropped, if against elif."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dspy_agent.policies.search.source import BUILTINS, Edit, loaded_names
from dspy_agent.policies.search.templates.base import Proposal, Site, Template

DONORS = 25
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def deleted(site: Site) -> Iterator[Proposal]:
    """The statement removed, or replaced by pass where its block needs one."""
    statement = site.statement
    if not site.source.own_lines(statement) or isinstance(statement, BLOCKS[5:]):
        return
    prior = 0.12 if not isinstance(statement, BLOCKS) else 0.06
    if len(site.source.block_of(statement)) > 1:
        yield Proposal((site.source.delete_lines(statement),), prior)
    else:
        yield site.replace(statement, "pass", prior)


def block_exits(site: Site) -> Iterator[Proposal]:
    """break, continue, return and raise exchanged or added."""
    statement = site.statement
    in_loop = any(isinstance(parent, ast.For | ast.While) for parent in site.source.ancestors(statement))
    if isinstance(statement, ast.Break | ast.Continue | ast.Pass):
        for other in ("break", "continue", "return", "pass"):
            if other != site.text(statement) and (in_loop or other not in ("break", "continue")):
                yield site.replace(statement, other, 0.25)
    elif in_loop and site.source.block_of(statement)[-1] is statement and site.source.own_lines(statement):
        yield Proposal((site.source.insert_after(statement, "break"),), 0.15)
        yield Proposal((site.source.insert_after(statement, "continue"),), 0.15)


def results(site: Site) -> Iterator[Proposal]:
    """A result that is dropped: `f(x)` to `return f(x)` or to `x = f(x)`; a missing return at the end."""
    statement, function = site.statement, site.function
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and function is not None:
        yield site.replace(statement, f"return {site.text(statement)}", 0.25)
        if site.text(statement.value.func).endswith(("Error", "Exception", "Warning")):
            yield site.replace(statement, f"raise {site.text(statement)}", 0.9)
        receiver = getattr(statement.value.func, "value", None)
        if isinstance(receiver, ast.Name):
            yield site.replace(statement, f"{receiver.id} = {site.text(statement)}", 0.3)
    if isinstance(statement, ast.Return) and statement.value is not None:
        yield site.replace(statement, f"yield {site.text(statement.value)}", 0.05)
    if function is not None and function.body[-1] is statement and not isinstance(statement, ast.Return):
        for name in site.locals[-6:]:
            yield Proposal((site.source.insert_after(statement, f"return {name}"),), 0.2)


def awaited(site: Site) -> Iterator[Proposal]:
    """A call in a coroutine whose await was forgotten."""
    if isinstance(site.function, ast.AsyncFunctionDef):
        for node in site.expressions:
            if isinstance(node, ast.Call) and not isinstance(site.source.parents.get(node), ast.Await):
                yield site.replace(node, f"(await {site.text(node)})", 0.3)


def moved(site: Site) -> Iterator[Proposal]:
    """The statement exchanged with its neighbour; moved out of its block or the next one into it."""
    block = site.source.block_of(site.statement)
    index = block.index(site.statement)
    if not all(site.source.own_lines(statement) for statement in block) or isinstance(
        site.statement, BLOCKS[5:]
    ):
        return
    if index + 1 < len(block):
        following = block[index + 1]
        first, second = site.text(site.statement), site.text(following)
        edits = (site.source.replace(site.statement, second), site.source.replace(following, first))
        yield Proposal(edits, 0.15)
    parent = site.source.parents[site.statement]
    opens_block = isinstance(parent, ast.If | ast.For | ast.While | ast.With) and not getattr(
        parent, "orelse", []
    )
    if opens_block and 0 < index == len(block) - 1 and not isinstance(site.statement, BLOCKS):
        start, _ = site.source.span(site.statement)
        outer = site.source.indent(parent)  # type: ignore[arg-type]  # opens_block: a statement
        yield Proposal((Edit(site.source.line_start(start), start, outer),), 0.2)
    yield from _moved_in(site, block, index)


def _moved_in(site: Site, block: list[ast.stmt], index: int) -> Iterator[Proposal]:
    if index == 0 or isinstance(site.statement, BLOCKS) or "\n" in site.text(site.statement):
        return
    before = block[index - 1]
    body = getattr(before, "orelse", []) or getattr(before, "body", [])
    if (
        isinstance(before, ast.If | ast.For | ast.While | ast.With)
        and body
        and site.source.own_lines(body[-1])
    ):
        start, _ = site.source.span(site.statement)
        yield Proposal((Edit(site.source.line_start(start), start, site.source.indent(body[-1])),), 0.15)


def branches(site: Site) -> Iterator[Proposal]:
    """`elif` to `if` and back; the two arms exchanged; an arm's body made unconditional."""
    statement = site.statement
    if not isinstance(statement, ast.If):
        return
    start, _ = site.source.span(statement)
    block = site.source.block_of(statement)
    index = block.index(statement)
    if site.source.text[start : start + 4] == "elif":
        yield Proposal((Edit(start, start + 4, "if"),), 0.2)
    elif index and isinstance(block[index - 1], ast.If) and site.source.own_lines(statement):
        yield Proposal((Edit(start, start, "el"),), 0.25)
    if len(statement.body) == 1 and len(statement.orelse) == 1:
        first, second = statement.body[0], statement.orelse[0]
        edits = (site.source.replace(first, site.text(second)), site.source.replace(second, site.text(first)))
        if not isinstance(second, BLOCKS) and not isinstance(first, BLOCKS):
            yield Proposal(edits, 0.15)


def copied(site: Site) -> Iterator[Proposal]:
    """A simple statement of the same class or file whose names are known here, inserted before or put in place.

    The plastic surgery hypothesis: repairs are often made of code that the program already has (Barr et al., 2014).
    """
    if not site.source.own_lines(site.statement) or site.function is None:
        return
    if isinstance(site.statement, BLOCKS[5:]) or site.text(site.statement).startswith("elif"):
        return
    own = site.text(site.statement)
    for text in _donors(site):
        if text != own:
            yield Proposal((site.source.insert_before(site.statement, text),), 0.12)
            if not isinstance(site.statement, BLOCKS):
                yield site.replace(site.statement, text, 0.08)
                yield Proposal((site.source.insert_after(site.statement, text),), 0.1)


def _donors(site: Site) -> list[str]:
    scope: ast.AST = site.source.class_of(site.statement) or site.source.tree
    module = {getattr(node, "name", "") for node in site.source.tree.body}
    known = set(site.locals) | BUILTINS | module | site.project.imports.get(site.source.path, set())
    line = site.statement.lineno
    simple = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise)
    nodes: list[ast.stmt] = [
        node for node in ast.walk(scope) if isinstance(node, simple) and site.source.function_of(node)
    ]
    nodes += [
        node
        for node in ast.walk(scope)
        if isinstance(node, ast.If) and len(node.body) == 1 and not node.orelse and isinstance(node.body[0], simple)
        and not site.text(node).startswith("elif") and site.source.function_of(node) is site.function
    ]  # fmt: skip
    nodes.sort(key=lambda node: (not _resets(node), abs(node.lineno - line)))
    texts = []
    for node in nodes:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if set(loaded_names(node)) <= known and not docstring:
            lines = site.text(node).splitlines()
            own_indent = site.source.indent(node)
            texts.append("\n".join(part.removeprefix(own_indent) for part in lines))
    return [text for text in dict.fromkeys(texts) if len(text) < 200][:DONORS]


def _resets(node: ast.stmt) -> bool:
    """Whether the statement sets an attribute of self to an empty constant: what a stale cache needs elsewhere."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
        return False
    value = node.value
    return (isinstance(value, ast.Constant) and not value.value) or (
        isinstance(value, ast.List | ast.Dict | ast.Tuple) and not ast.unparse(value)[1:-1]
    )


TEMPLATES: dict[str, Template] = {
    "delete": deleted,
    "block-exit": block_exits,
    "result": results,
    "await": awaited,
    "move": moved,
    "branch": branches,
    "copy": copied,
}
