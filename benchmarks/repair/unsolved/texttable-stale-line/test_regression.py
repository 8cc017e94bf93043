"""A table that was drawn once must follow a later change of its decoration."""

from texttable import Texttable


def filled():
    table = Texttable()
    table.add_rows([["name", "age"], ["Ann", 31], ["Bob", 27]])
    return table


def test_draws_header_and_rows():
    drawn = filled().draw()
    assert "| name | age |" in drawn
    assert drawn.splitlines()[0] == "+------+-----+"


def test_reset_forgets_the_rows():
    table = filled()
    table.draw()
    table.reset()
    table.add_row(["x", "y"])
    assert "Ann" not in table.draw()


def test_decoration_chosen_before_drawing():
    table = filled()
    table.set_deco(Texttable.HEADER)
    assert "+" not in table.draw()


def test_decoration_changed_after_drawing():
    fresh = filled()
    fresh.set_deco(Texttable.BORDER | Texttable.HLINES)
    table = filled()
    table.draw()
    table.set_deco(Texttable.BORDER | Texttable.HLINES)
    assert table.draw() == fresh.draw()
