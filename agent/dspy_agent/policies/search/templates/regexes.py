"""Regular expressions: anchors, quantifiers, escapes, character classes, optional groups.

The pattern's text is edited as written in the file. What does not compile as a pattern is dropped here, before a
process is spent on it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from dspy_agent.policies.search.templates.base import Proposal, Site, Template
from dspy_agent.policies.search.templates.strings import relevance, string_constants

PATTERN = re.compile(r"\\[dwsbWDS.]|\[[^\]]+\]|\(\?|[)\]\w.][*+?]|^\^|\$$|\.\*|\.\+")
CLASS = re.compile(r"\[\^?(?:\\.|[^\]\\])+\]")
QUANTIFIED = re.compile(
    r"(?P<atom>\\.|\[(?:\\.|[^\]\\])+\]|\)|[\w.])(?P<quantifier>[*+?]|\{\d+(?:,\d*)?\})(?P<lazy>\??)"
)
ATOM = re.compile(r"\\[^AZbBdws0-9]|\\[dws]|\[\^?(?:\\.|[^\]\\])+\]|(?<!\\)\.")
GROUP = re.compile(r"\((?:[^()\\]|\\.)*\)")
RANGES = ("a-z", "A-Z", "0-9", r"\s", r"\w")
NARROWER = ((r"\d", "[0-9]"), (r"\w", "[a-zA-Z0-9_]"), (r"\s", r"[ \t]"), (r"\s", " "))
ESCAPED = {".", "+", "*", "?", "(", ")", "|", "$", "^"}


def patterns(site: Site) -> Iterator[Proposal]:
    """Every variant of every string on the statement that reads as a pattern."""
    for node, head, body, quote in string_constants(site):
        if not PATTERN.search(body) and "re." not in site.text(site.statement):
            continue
        raw = "r" in head.lower()
        for text, prior in dict(reversed(list(_variants(site, body)))).items():
            if text != body and quote not in text and _compiles(text, raw):
                yield site.replace(node, head + text + quote, prior * relevance(site, node))


def _compiles(text: str, raw: bool) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(text if raw else text.encode().decode("unicode_escape"))
    except (re.error, UnicodeDecodeError, RecursionError, OverflowError):
        return "%" in text or "{" in text  # completed by formatting before it is compiled
    return True


def _variants(site: Site, body: str) -> Iterator[tuple[str, float]]:
    yield from _anchors(body)
    yield from _quantifiers(body)
    yield from _classes(site, body)
    yield from _escapes(body)
    yield from _optional(body)


def _anchors(body: str) -> Iterator[tuple[str, float]]:
    yield ("^" + body, 0.25) if not body.startswith(("^", r"\A")) else (body[1:], 0.15)
    if body.endswith("$"):
        yield body[:-1] + r"\Z", 0.4
        yield body[:-1], 0.15
    else:
        yield body + "$", 0.25
        yield body + r"\Z", 0.2
        yield body + r"\b", 0.12
    yield r"\b" + body, 0.12
    if body.startswith("^") and "|" in body:
        yield f"^(?:{body.removeprefix('^').removesuffix('$')})$", 0.3


def _quantifiers(body: str) -> Iterator[tuple[str, float]]:
    for found in QUANTIFIED.finditer(body):
        start, end = found.start("quantifier"), found.end("quantifier")
        quantifier = found["quantifier"]
        for other in ("*", "+", "?", "{1,2}", "{2,}"):
            if other != quantifier:
                yield body[:start] + other + body[end:], 0.3 if other in "*+?" else 0.05
        yield body[:start] + body[found.end("lazy") :], 0.15
        lazy = "" if found["lazy"] else "?"
        if quantifier != "?":
            yield body[:end] + lazy + body[found.end("lazy") :], 0.25
        numbers = [int(number) for number in re.findall(r"\d+", quantifier)]
        for number in dict.fromkeys(numbers):
            for other_number in {number - 1, number + 1} - {-1}:
                yield body[:start] + quantifier.replace(str(number), str(other_number), 1) + body[end:], 0.2
        if len(numbers) == 1 and "," not in quantifier:
            yield body[:start] + f"{{1,{numbers[0]}}}" + body[end:], 0.2
            yield body[:start] + f"{{{numbers[0]},}}" + body[end:], 0.2


def _classes(site: Site, body: str) -> Iterator[tuple[str, float]]:
    """Character classes made larger or smaller; the failing tests' punctuation first."""
    signs = dict.fromkeys(char for word in site.hints.words for char in word if not char.isalnum())
    letters = [char for char in dict.fromkeys([*list(signs)[:10], "-", "_", "."]) if char not in "'\"\n"]
    classes = list(CLASS.finditer(body))
    for found in classes:
        for inner, prior in _class_variants(found.group(), letters):
            yield body[: found.start()] + inner + body[found.end() :], prior
    for found in re.finditer(r"\\[wds]", body):
        if not any(part.start() < found.start() < part.end() for part in classes):
            for letter in letters:
                yield (
                    body[: found.start()] + f"[{found.group()}{_escaped(letter)}]" + body[found.end() :],
                    0.2,
                )
    for old, new in NARROWER:
        if old in body:
            yield body.replace(old, new), 0.12


def _class_variants(inner: str, letters: list[str]) -> Iterator[tuple[str, float]]:
    yield from ((inner[:-1] + _escaped(letter) + "]", 0.3) for letter in letters if letter not in inner)
    if "-" not in inner and "\\" not in inner:
        partners = dict.fromkeys(char.swapcase() for char in inner if char.isalpha())
        yield from ((inner[:-1] + letter + "]", 0.25) for letter in partners if letter not in inner)
    yield from ((inner[:-1] + extra + "]", 0.15) for extra in RANGES if extra not in inner)
    for piece in re.finditer(r"\\.|.-.|[^\[\]^\\]", inner):
        rest = inner[: piece.start()] + inner[piece.end() :]
        if len(rest) > 2:
            yield rest, 0.12


def _escaped(letter: str) -> str:
    return "\\" + letter if letter in "]\\^-" else letter


def _escapes(body: str) -> Iterator[tuple[str, float]]:
    for index, char in enumerate(body):
        if char in ESCAPED:
            if index and body[index - 1] == "\\":
                yield body[: index - 1] + body[index:], 0.1
            else:
                yield body[:index] + "\\" + body[index:], 0.35 if char == "." else 0.12


def _optional(body: str) -> Iterator[tuple[str, float]]:
    for found in [*ATOM.finditer(body), *GROUP.finditer(body)]:
        after = body[found.end() : found.end() + 1]
        if after not in ("*", "+", "?", "{"):
            for quantifier, prior in (("?", 0.25), ("+", 0.25), ("*", 0.25)):
                yield body[: found.end()] + quantifier + body[found.end() :], prior
        else:
            yield body[: found.start()] + body[found.end() + 1 :], 0.1
    for found in re.finditer(r"\((?!\?)", body):
        yield body[: found.end()] + "?:" + body[found.end() :], 0.08


TEMPLATES: dict[str, Template] = {"regex": patterns}
