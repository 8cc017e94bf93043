"""Converting an empty string to camel case gives an empty string."""

import humps


def test_snake_to_camel():
    assert humps.camelize("first_name") == "firstName"


def test_acronym_is_kept():
    assert humps.camelize("HTTP") == "HTTP"


def test_capital_is_lowered():
    assert humps.camelize("Hello_world") == "helloWorld"


def test_keys_of_dicts():
    assert humps.camelize({"user_id": 1, "tags": [{"tag_name": "x"}]}) == {
        "userId": 1,
        "tags": [{"tagName": "x"}],
    }


def test_one_letter():
    assert humps.camelize("A") == "A"
    assert humps.camelize("a") == "a"


def test_empty_string():
    assert humps.camelize("") == ""


def test_empty_key():
    assert humps.camelize({"": 1}) == {"": 1}
