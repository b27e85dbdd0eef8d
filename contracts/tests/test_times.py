"""One moment has one spelling: what another implementation would refuse, or read otherwise, is refused here."""

import pytest

from zb_contracts.times import format_time_ms, parse_time_ms


@pytest.mark.parametrize(
    "text",
    [
        "2026-W47-7T10:05:00.000Z",
        "2026-11-22 10:05:00.000Z",
        "2026-11-22x10:05:00.000Z",
        "2026-11-22T10:05:00,000Z",
        "2026-11-22T10:05:00.000z",
        "2026-11-22T24:00:00.000Z",
        "2026-02-30T10:05:00.000Z",
        "2026-11-22T10:05:60.000Z",
        "2026-11-22T10:05:00.00\u0660Z",
        "2026-11-22T10:05:00.000Z\n",
        "0000-11-22T10:05:00.000Z",
    ],
)
def test_another_spelling_of_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_time_ms(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00.000Z", "1969-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"])
def test_a_time_comes_back_as_it_was_written(text: str) -> None:
    assert format_time_ms(parse_time_ms(text)) == text
