"""A session's environment as the kubelet would resolve it."""

from __future__ import annotations

import base64

import pytest
from dspy_operator.desired import environment
from dspy_operator.errors import NotBindableError
from dspy_operator.store import Object
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.sampled_from(["A", "B", "C"])
PIECES = st.lists(st.sampled_from(["$", "(", ")", "A", "B", "x", "$$", "$(A)", "$(B)", "$(C)"])).map("".join)


def expand_like_kubelet(text: str, known: dict[str, str]) -> str:
    """Kubernetes' own expansion, character by character (third_party/forked/golang/expansion)."""
    out, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out, at = out + text[at], at + 1
            continue
        following, end = text[at + 1], text.find(")", at + 2)
        if following == "$":
            out, at = out + "$", at + 2
        elif following == "(" and end >= 0:
            name = text[at + 2 : end]
            out, at = out + known.get(name, f"$({name})"), end + 1
        elif following == "(":
            out, at = out + "$(", at + 2
        else:
            out, at = out + "$" + following, at + 2
    return out


@given(PIECES, st.dictionaries(NAMES, PIECES))
def test_expansion(text: str, known: dict[str, str]) -> None:
    assert environment.expand(text, known.get) == expand_like_kubelet(text, known)


@given(st.lists(st.tuples(NAMES, PIECES), max_size=6))
def test_variables_see_those_before_them(variables: list[tuple[str, str]]) -> None:
    expected: dict[str, str] = {}
    for name, value in variables:
        expected[name] = expand_like_kubelet(value, expected)
    made = environment.resolve({"env": [{"name": n, "value": v} for n, v in variables]}, {})
    assert made == [{"name": name, "value": value} for name, value in expected.items()]


SOURCES = {
    ("Secret", "s"): {"KEY": b"secret", "9bad": b"no name", "a.b": b"dots", "a b": b"no name"},
    ("ConfigMap", "c"): {"KEY": b"plain", "OTHER": b"$(KEY)"},
}


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        (
            {"envFrom": [{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "c"}, "prefix": "P_"}]},
            {"KEY": "secret", "a.b": "dots", "P_KEY": "plain", "P_OTHER": "$(KEY)"},
        ),
        (
            {"envFrom": [{"secretRef": {"name": "s"}, "prefix": "P"}]},
            {"PKEY": "secret", "P9bad": "no name", "Pa.b": "dots"},
        ),
        (
            {
                "envFrom": [{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "c"}}],
                "env": [{"name": "ALL", "value": "$(KEY)-$(NONE)"}, {"name": "KEY", "value": "mine"}],
            },
            {"KEY": "mine", "OTHER": "$(KEY)", "a.b": "dots", "ALL": "plain-$(NONE)"},
        ),
        (
            {
                "env": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "KEY"}}},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "OTHER"}}},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "absent"}}},
                    {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "x"}}},
                    {"name": "E", "value": "$(A)$(B)$(C)"},
                    {"name": "F"},
                ]
            },
            {"A": "secret", "B": "$(KEY)", "E": "secret$(KEY)$(C)", "F": ""},
        ),
        ({"envFrom": [{"configMapRef": {"name": "absent", "optional": True}}]}, {}),
    ],
)
def test_sources(spec: Object, made: dict[str, str]) -> None:
    found = {each["name"]: each["value"] for each in environment.resolve(spec, SOURCES)}
    assert found == made


@pytest.mark.parametrize("value", [b"\xff", b"a\0b"])
def test_what_is_not_text_is_named_but_not_told(value: bytes) -> None:
    with pytest.raises(NotBindableError, match="variable KEY is not text") as raised:
        environment.resolve({"envFrom": [{"secretRef": {"name": "s"}}]}, {("Secret", "s"): {"KEY": value}})
    assert "xff" not in repr(raised.value.__cause__)


def test_what_has_to_be_read() -> None:
    spec = {
        "envFrom": [{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "c"}}],
        "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}},
            {"name": "B", "value": "x"},
        ],
    }
    assert environment.named(spec) == {("Secret", "s"), ("ConfigMap", "c"), ("Secret", "t")}
    assert environment.contents("Secret", {"k": base64.b64encode(b"\xff").decode()}) == {"k": b"\xff"}
    assert environment.contents("ConfigMap", {"data": {"k": "é"}, "binaryData": {"b": "AA=="}}) == {
        "k": "é".encode()
    }
