"""Each row: a buggy statement inside a function, and a repair that the templates must propose for it."""

from __future__ import annotations

import ast

import pytest
from dspy_agent.policies.search.hints import Hints
from dspy_agent.policies.search.project import index
from dspy_agent.policies.search.source import Source, apply
from dspy_agent.policies.search.templates import TEMPLATES, Site

KEY_ERROR = Hints(exceptions=("KeyError",), bases=frozenset({"KeyError"}), expected=("AttributeError",))
NONE = Hints(bases=frozenset({"TypeError"}), none_names=frozenset({"x"}), words=("a-b",))
ROWS = [
    ("comparison-operator", "if x < y:\n        return x", "if x <= y:\n        return x"),
    ("boolean-operator", "return x and y", "return (x or y)"),
    ("negation", "if x:\n        return y", "if not x:\n        return y"),
    ("truthiness", "if x:\n        return y", "if x is not None:\n        return y"),
    ("truthiness", "if not x:\n        return y", "if x is None:\n        return y"),
    ("guard", "if x:\n        return y", "if x and y:\n        return y"),
    ("isinstance", "return isinstance(x, list)", "return isinstance(x, (list, tuple))"),
    ("isinstance", "return type(x) == int", "return isinstance(x, int)"),
    ("integer-constant", "return x[0]", "return x[-1]"),
    ("arithmetic", "return x / y", "return x // y"),
    ("augmented-assignment", "x /= 2", "x //= 2"),
    ("off-by-one", "return x[:y]", "return x[:y + 1]"),
    ("none-default", "return x + 'a'", "return (x or '') + 'a'"),
    ("other-name", "return x", "return y"),
    ("swapped-arguments", "return max(x, y)", "return max(y, x)"),
    ("missing-argument", "return helper(x)", "return helper(x, y=y)"),
    ("sibling-call", "return x.lstrip(y)", "return x.removeprefix(y)"),
    ("sibling-call", "return int(x)", "return round(x)"),
    ("optional-argument", "return x.split(y)", "return x.split(y, 1)"),
    ("subscript-get", "return x[y]", "return x.get(y)"),
    ("conversion", "return x + y", "return str(x) + y"),
    ("iterable", "for y in x:\n        x.pop()", "for y in list(x):\n        x.pop()"),
    ("regex", "return re.match(r'[0-9]{6}', x)", "return re.match(r'[0-9]{1,6}', x)"),
    ("regex", "return re.match(r'\\w+', x)", "return re.match(r'[\\w\\-]+', x)"),
    ("regex", "return re.match(r'a.b', x)", "return re.match(r'a\\.b', x)"),
    ("early-exit", "return x.strip()", "if not x:\n        return x\n    return x.strip()"),
    (
        "catch",
        "return x[y]",
        "try:\n        return x[y]\n    except KeyError:\n        raise AttributeError()",
    ),
    ("result", "x.strip()", "x = x.strip()"),
    ("result", "ValueError(x)", "raise ValueError(x)"),
]


def proposals(name: str, statement: str, hints: Hints) -> list[str]:
    text = f"import re\n\n\ndef helper(x, y=None):\n    return x\n\n\ndef f(x, y):\n    {statement}\n"
    source = Source("f.py", text)
    function = source.tree.body[-1]
    assert isinstance(function, ast.FunctionDef)
    site = Site(source, function.body[0], hints, index([source]))
    return [apply(text, proposal.edits) for proposal in TEMPLATES[name](site)]


@pytest.mark.parametrize(("name", "buggy", "repaired"), ROWS)
def test_proposes_the_repair(name: str, buggy: str, repaired: str) -> None:
    hints = KEY_ERROR if name == "catch" else NONE
    wanted = proposals(name, buggy, hints)
    tail = f"def f(x, y):\n    {repaired}\n"
    assert any(text.endswith(tail) for text in wanted), "\n".join(text.split("def f")[1] for text in wanted)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_keeps_unrelated_text(name: str) -> None:
    """Whatever is proposed for one function, the other one stays as it is."""
    for _, buggy, _ in ROWS:
        for text in proposals(name, buggy, NONE):
            assert text.startswith("import re\n\n\ndef helper(x, y=None):\n    return x\n")


def test_mutable_default() -> None:
    text = "def f(x=[]):\n    x.append(1)\n    return x\n"
    source = Source("f.py", text)
    site = Site(source, source.tree.body[0], Hints(), index([source]))
    (proposal,) = TEMPLATES["mutable-default"](site)
    assert apply(text, proposal.edits) == (
        "def f(x=None):\n    if x is None:\n        x = []\n    x.append(1)\n    return x\n"
    )


def test_keyword_taken_from_kwargs() -> None:
    """A keyword that the callee takes out of **kwargs is known like a parameter."""
    text = (
        "class Tree:\n    def __init__(self, **kw):\n        hook = kw.pop('hook', None)\n"
        "        self.child = self.__class__()\n"
    )
    source = Source("f.py", text)
    statement = next(
        node
        for node in ast.walk(source.tree)
        if "self.__class__()" in ast.unparse(node) and isinstance(node, ast.Assign)
    )
    site = Site(source, statement, Hints(), index([source]))
    assert any(
        "self.__class__(hook=hook)" in apply(text, item.edits) for item in TEMPLATES["missing-argument"](site)
    )
