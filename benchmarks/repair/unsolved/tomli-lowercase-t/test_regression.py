"""Date and time may be separated by a lower-case t."""

from datetime import date, datetime, timezone

import pytest
import tomli


def test_capital():
    assert tomli.loads("d = 1979-05-27T07:32:00")["d"] == datetime(1979, 5, 27, 7, 32)


def test_space_and_zone():
    assert tomli.loads("d = 1979-05-27 07:32:00Z")["d"] == datetime(1979, 5, 27, 7, 32, tzinfo=timezone.utc)


def test_date_alone():
    assert tomli.loads("d = 1979-05-27")["d"] == date(1979, 5, 27)


def test_another_letter_is_refused():
    with pytest.raises(tomli.TOMLDecodeError):
        tomli.loads("d = 1979-05-27x07:32:00")


def test_lower_case():
    assert tomli.loads("d = 1979-05-27t07:32:00")["d"] == datetime(1979, 5, 27, 7, 32)


def test_lower_case_with_zone():
    assert tomli.loads("d = 1979-05-27t07:32:00Z")["d"] == datetime(1979, 5, 27, 7, 32, tzinfo=timezone.utc)
