"""%f stands for one to six digits, as in strptime."""

from datetime import datetime, time

from parse import parse


def test_six_digits():
    assert parse("{:%H:%M:%S.%f}", "12:34:56.123456")[0] == time(12, 34, 56, 123456)


def test_date_and_time():
    assert parse("{:%Y-%m-%d %H:%M}", "2023-11-21 13:23")[0] == datetime(2023, 11, 21, 13, 23)


def test_no_fraction_is_no_match():
    assert parse("{:%H:%M:%S.%f}", "12:34:56.") is None


def test_three_digits():
    assert parse("{:%H:%M:%S.%f}", "12:34:56.123")[0] == time(12, 34, 56, 123000)


def test_one_digit():
    assert parse("at {:%H:%M:%S.%f}!", "at 01:02:03.5!")[0] == time(1, 2, 3, 500000)


def test_seven_digits_are_no_match():
    assert parse("{:%H:%M:%S.%f}", "12:34:56.1234567") is None
