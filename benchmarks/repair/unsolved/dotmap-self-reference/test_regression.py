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


def test_map_after_a_plain_value():
    assert str(DotMap({"a": 1, "b": {"c": 2}})) == "DotMap(a=1, b=DotMap(c=2))"


def test_two_maps_side_by_side():
    assert str(DotMap({"a": {"x": 1}, "b": {"y": 2}})) == "DotMap(a=DotMap(x=1), b=DotMap(y=2))"


def test_self_reference_comes_first():
    loop = DotMap()
    loop.me = loop
    loop.a = 1
    assert str(loop) == "DotMap(me=DotMap(...), a=1)"
