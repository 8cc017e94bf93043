"""A missing attribute is an AttributeError, whatever the map does underneath."""

import pytest
from dotmap import DotMap


def test_present_attribute():
    assert DotMap({"a": {"b": 2}}).a.b == 2


def test_dynamic_map_grows():
    tree = DotMap()
    tree.a.b = 1
    assert tree.toDict() == {"a": {"b": 1}}


def test_missing_key_stays_a_key_error():
    with pytest.raises(KeyError):
        DotMap(_dynamic=False)["missing"]


def test_dunder_names():
    with pytest.raises(AttributeError):
        DotMap().__wrapped__


def test_missing_attribute():
    with pytest.raises(AttributeError):
        DotMap({"a": 1}, _dynamic=False).missing


def test_getattr_with_default():
    assert getattr(DotMap(_dynamic=False), "missing", "default") == "default"
