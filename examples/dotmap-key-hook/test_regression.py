"""The key hook converts the keys of nested dicts too."""

from dotmap import DotMap


def dashes(key):
    return key.replace("-", "_")


def test_without_hook():
    assert DotMap({"a-b": {"c-d": 1}}).toDict() == {"a-b": {"c-d": 1}}


def test_outermost_keys():
    assert DotMap({"a-b": 1}, _key_convert_hook=dashes).a_b == 1


def test_masking_is_passed_on():
    assert DotMap({"a": {"b": 1}}, _prevent_method_masking=True).a._prevent_method_masking is True


def test_nested_keys():
    nested = DotMap({"a-b": {"c-d": {"e-f": 3}}}, _key_convert_hook=dashes)
    assert nested.toDict() == {"a_b": {"c_d": {"e_f": 3}}}


def test_other_keys_are_kept():
    nested = DotMap({"a": {"b": 1, "c-d": "x-y"}}, _key_convert_hook=dashes)
    assert nested.toDict() == {"a": {"b": 1, "c_d": "x-y"}}
