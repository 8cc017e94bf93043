"""A new key goes on a line of its own."""

import dotenv


def contents(tmp_path, text):
    path = tmp_path / ".env"
    path.write_text(text)
    dotenv.set_key(str(path), "b", "2")
    return path.read_text()


def test_empty_file(tmp_path):
    assert contents(tmp_path, "") == "b='2'\n"


def test_appended(tmp_path):
    assert contents(tmp_path, "a=1\n") == "a=1\nb='2'\n"


def test_replaced(tmp_path):
    assert contents(tmp_path, "a=1\nb=1\n") == "a=1\nb='2'\n"


def test_last_line_without_end(tmp_path):
    assert contents(tmp_path, "a=1") == "a=1\nb='2'\n"
