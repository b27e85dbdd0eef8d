"""What fleet commands print: ids that can be copied into the next command, and nothing that moves a terminal's cursor."""

import pytest

from zb.fleet.desk import say, show_table

DEVICE = "d-0123456789abcdef-and-more"


def test_what_the_next_command_is_told_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["device", *(f"column {number}" for number in range(12))], [[DEVICE, *["a long text that wraps"] * 12]])
    assert DEVICE in capsys.readouterr().out


def test_what_a_device_says_of_itself_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["device", "model"], [[DEVICE, "FZ-N1\x1b[2J"], [DEVICE, None]])
    say("one line\nits make is FZ-N1\x1b[2J\rgone")
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\r" not in said
    assert "one line\nits make is FZ-N1\ufffd[2J\ufffdgone\n" in said


def test_a_table_without_rows_is_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["device", "model"], [])
    assert "device" in capsys.readouterr().out
