"""A time with an offset keeps it."""

from datetime import datetime, time, timedelta, timezone

from parse import parse


def test_time_without_zone():
    assert parse("{:%H:%M}", "13:23")[0] == time(13, 23)


def test_date_and_time():
    assert parse("{:%Y-%m-%d %H:%M}", "2023-11-21 13:23")[0] == datetime(2023, 11, 21, 13, 23)


def test_date_time_and_zone():
    parsed = parse("{:%Y-%m-%d %H:%M %z}", "2023-11-21 13:23 +0200")[0]
    assert parsed.utcoffset() == timedelta(hours=2)


def test_time_with_zone():
    assert parse("{:%H:%M %z}", "13:23 +0100")[0] == time(13, 23, tzinfo=timezone(timedelta(hours=1)))
