"""Texts of strangers on a terminal."""

import pytest

from zb_contracts.printable import printable


@pytest.mark.parametrize("text", ["", "Panasonic FZ-N1", "Chaudière à l'étage, № 5", "漏水"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("control", ["\x1b", "\x9b", "\r", "\n", "\x07", "\x00", "\x7f", "\u202e", "\ud800"])
def test_nothing_moves_the_cursor_hides_a_line_or_turns_the_text(control: str) -> None:
    assert printable(f"FZ-N1{control}[2J") == "FZ-N1\ufffd[2J"
