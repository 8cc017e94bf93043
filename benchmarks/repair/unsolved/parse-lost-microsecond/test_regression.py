"""The microseconds of a time must come out as they went in."""

import pytest
from parse import parse


def microseconds(fraction):
    return parse("{:tt}", "10:21:36." + fraction)[0].microsecond


def test_round_fractions():
    assert microseconds("5") == 500000
    assert microseconds("25") == 250000


def test_more_digits_than_a_time_holds():
    assert microseconds("9999999") == 999999


def test_whole_seconds():
    assert parse("{:tt}", "10:21:36")[0].microsecond == 0


def test_afternoon():
    assert parse("{:tt}", "10:21:36 PM")[0].hour == 22


@pytest.mark.parametrize("value", range(1, 1000000, 9973))
def test_every_microsecond(value):
    assert microseconds(f"{value:06d}") == value
