"""A size function counts whether or not the object that implements it is true."""

import pytest
from cachetools import LRUCache


class SizeTable:
    """Sizes of values; unknown ones measure their own length. An empty table is false."""

    def __init__(self, known=()):
        self.known = dict(known)

    def __len__(self):
        return len(self.known)

    def __call__(self, value):
        return self.known.get(value, len(value))


def test_default_size_is_one():
    cache = LRUCache(maxsize=2)
    cache["a"], cache["b"], cache["c"] = "xxx", "yyy", "zzz"
    assert list(cache) == ["b", "c"]


def test_plain_function():
    cache = LRUCache(maxsize=4, getsizeof=len)
    cache["a"], cache["b"] = "xxx", "yy"
    assert cache.currsize == 2


def test_negative_maxsize():
    with pytest.raises(ValueError):
        LRUCache(maxsize=-1)


def test_filled_table():
    cache = LRUCache(maxsize=10, getsizeof=SizeTable({"big": 9}))
    cache["a"] = "big"
    assert cache.currsize == 9


def test_empty_table():
    cache = LRUCache(maxsize=10, getsizeof=SizeTable())
    cache["a"] = "four"
    assert cache.currsize == 4


def test_too_large_for_an_empty_table():
    with pytest.raises(ValueError):
        LRUCache(maxsize=2, getsizeof=SizeTable())["a"] = "xxx"
