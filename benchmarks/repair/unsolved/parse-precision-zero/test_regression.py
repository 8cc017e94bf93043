"""What format() writes with precision 0 can be parsed again."""

from parse import parse


def test_decimal_point():
    assert parse("{:f}", "3.14")[0] == 3.14


def test_precision():
    assert parse("{:.2f}", "3.14")[0] == 3.14


def test_negative():
    assert parse("{:f}", "-0.5")[0] == -0.5


def test_letters_are_no_match():
    assert parse("{:f}", "abc") is None


def test_precision_zero():
    assert parse("{:.0f}", "20")[0] == 20.0


def test_precision_zero_in_a_sentence():
    assert parse("took {:.0f} s", "took 7 s")[0] == 7.0
