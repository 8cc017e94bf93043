"""String constants: edits guided by how the actual value differs from the expected one, and by the tests' words."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dspy_agent.policies.search.source import Edit
from dspy_agent.policies.search.templates.base import Proposal, Site, Template

CONVERSIONS = (
    ("%d", "%s"),
    ("%s", "%r"),
    ("%s", "%d"),
    ("%i", "%s"),
    ("{}", "{!r}"),
    ("%x", "%02x"),
    ("%f", "%g"),
)
WORDS_PER_TABLE = 12
PREFIXES = ("", "r", "b", "rb", "br", "u", "f", "fr", "rf")


def string_constants(site: Site) -> Iterator[tuple[ast.expr, str, str, str]]:
    """(node, prefix and quote, body as written, quote) of one-piece strings, f-strings with their braces."""
    for node in site.expressions:
        literal = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        if literal or isinstance(node, ast.JoinedStr):
            text = site.text(node)
            quote_at = min((text.find(quote) for quote in "'\"" if quote in text), default=-1)
            if quote_at < 0 or text[:quote_at].lower() not in PREFIXES:
                continue
            quote = (
                text[quote_at : quote_at + 3]
                if text[quote_at : quote_at + 3] in ('"""', "'''")
                else text[quote_at]
            )
            body = text[quote_at + len(quote) : -len(quote)]
            if text.endswith(quote) and quote not in body.replace(
                "\\" + quote, ""
            ):  # else several literals in a row
                yield node, text[: quote_at + len(quote)], body, quote


def relevance(site: Site, node: ast.expr) -> float:
    """Factor for an entry of a table: its key is part of what the failing tests say, or it is not."""
    parent = site.source.parents.get(node)
    if not isinstance(parent, ast.Dict) or node not in parent.values:
        return 1.0
    key = parent.keys[parent.values.index(node)]
    if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
        return 1.0
    return 2.0 if any(key.value in word for word in site.hints.words) else 0.3


def literal_edits(site: Site) -> Iterator[Proposal]:
    """Fragments that the expected value has and the actual lacks, put into or taken out of the constant."""
    for node, head, body, quote in string_constants(site):
        for text, prior in _variants(site, body):
            if text != body and quote not in text:
                yield site.replace(node, head + text + quote, prior * relevance(site, node))


def _variants(site: Site, body: str) -> Iterator[tuple[str, float]]:
    if body.strip() != body:
        yield body.strip(), 0.2
        yield body.rstrip(), 0.15
    if body != body.lower():
        yield body.lower(), 0.15
    if body and body != body.upper() and len(body) < 12:
        yield body.upper(), 0.1
    for old, new in CONVERSIONS:
        if old in body:
            yield body.replace(old, new), 0.25
    for actual, expected in site.hints.changes:
        for old, new in ((actual, expected), (expected, actual)):
            if "\\" in new or "\n" in new:
                continue
            if old and old in body:
                yield body.replace(old, new), 0.35
            elif new and not old and len(new) <= 4:
                yield body + new, 0.15
                yield new + body, 0.15
    if len(body) <= 1:
        yield from ((other, 0.1) for other in ("", " ", "\\n", "_", "-") if other != body)


def table_entries(site: Site) -> Iterator[Proposal]:
    """A word of the failing test, or the neighbour of an entry, added to a table of strings."""
    for node in site.expressions:
        if not isinstance(node, ast.Tuple | ast.List | ast.Set) or not node.elts:
            continue
        texts = [element.value for element in node.elts if isinstance(element, ast.Constant)]
        if len(texts) != len(node.elts) or not all(isinstance(text, str) for text in texts):
            continue
        end = site.source.span(node.elts[-1])[1]
        longest = max(len(str(text)) for text in texts)
        for word in site.hints.words[:WORDS_PER_TABLE]:
            for piece in dict.fromkeys([word, *word.split()]):
                if piece not in texts and len(piece) <= longest + 4:
                    yield Proposal((Edit(end, end, f", {piece!r}"),), 0.12)


def membership(site: Site) -> Iterator[Proposal]:
    """`x == 'a'` to `x in ('a', 'b')` with b from the failing test; case ignored on either side."""
    for node in site.expressions:
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            continue
        left, right = node.left, node.comparators[0]
        if (
            isinstance(node.ops[0], ast.Eq | ast.NotEq)
            and isinstance(right, ast.Constant)
            and isinstance(right.value, str)
        ):
            word_in = "in" if isinstance(node.ops[0], ast.Eq) else "not in"
            for word in [word for word in site.hints.words if word != right.value and len(word) <= 12][:6]:
                yield site.replace(node, f"{site.text(left)} {word_in} ({site.text(right)}, {word!r})", 0.12)
        if isinstance(right, ast.Constant | ast.Tuple | ast.List | ast.Set) or isinstance(
            node.ops[0], ast.In
        ):
            yield site.replace(left, f"{site.operand(left)}.lower()", 0.1)


TEMPLATES: dict[str, Template] = {
    "literal": literal_edits,
    "table-entry": table_entries,
    "membership": membership,
}
