"""Integers are shown exactly."""

from texttable import Texttable


def cell(value, kind="i"):
    table = Texttable()
    table.set_deco(0)
    table.set_cols_dtype([kind])
    table.add_row([value])
    return table.draw().strip()


def test_small_integer():
    assert cell(42) == "42"


def test_float_is_rounded():
    assert cell(2.7) == "3"


def test_number_in_a_string():
    assert cell("3.2") == "3"


def test_text_stays_text():
    assert cell("n/a") == "n/a"


def test_large_integer():
    assert cell(2**53 + 1) == "9007199254740993"


def test_very_large_integer():
    assert cell(10**30 + 7) == "1" + "0" * 29 + "7"
