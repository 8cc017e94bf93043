"""Transpositions are counted in pairs: half of an odd number is rounded down."""

import pytest
from textdistance import Jaro, JaroWinkler

jaro = Jaro(external=False)


def test_classic_pairs():
    assert jaro("MARTHA", "MARHTA") == pytest.approx(0.944444, abs=1e-6)
    assert jaro("DIXON", "DICKSONX") == pytest.approx(0.766667, abs=1e-6)


def test_equal_and_different():
    assert jaro("same", "same") == 1
    assert jaro("abc", "xyz") == 0


def test_winkler_prefix():
    assert JaroWinkler(external=False)("DWAYNE", "DUANE") == pytest.approx(0.84, abs=1e-2)


def test_three_characters_out_of_place():
    # All six characters match, three of them at another place: one transposition after halving.
    assert jaro("ABCDEF", "ABDECF") == pytest.approx((1 + 1 + 5 / 6) / 3)


def test_one_cycle_at_the_end():
    assert jaro("WXYABC", "WXYBCA") == pytest.approx((1 + 1 + 5 / 6) / 3)
