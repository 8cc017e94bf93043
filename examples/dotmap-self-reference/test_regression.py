"""A map that holds itself is abbreviated at the first repetition."""

from dotmap import DotMap


def test_plain():
    assert str(DotMap(a=1)) == "DotMap(a=1)"


def test_nested():
    assert str(DotMap({"a": {"b": 2}})) == "DotMap(a=DotMap(b=2))"


def test_self_reference():
    loop = DotMap(a=1)
    loop.me = loop
    assert str(loop) == "DotMap(a=1, me=DotMap(...))"
