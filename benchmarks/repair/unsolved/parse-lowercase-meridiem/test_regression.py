"""am and pm mean the same in either case."""

from datetime import time

from parse import parse


def test_capitals():
    assert parse("{:tt}", "9:15 PM")[0] == time(21, 15)
    assert parse("{:tt}", "12:15 AM")[0] == time(0, 15)


def test_midday():
    assert parse("{:tt}", "12:15 PM")[0] == time(12, 15)


def test_24_hours():
    assert parse("{:tt}", "21:15")[0] == time(21, 15)


def test_pm():
    assert parse("{:tt}", "9:15 pm")[0] == time(21, 15)


def test_midnight():
    assert parse("{:tt}", "12:15 am")[0] == time(0, 15)
