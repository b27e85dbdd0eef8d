"""Times on the wire: RFC 3339, UTC, milliseconds, one spelling. In memory: whole milliseconds since 1970 as int.

A float of seconds cannot hold a millisecond exactly and a datetime compares slowly; an int does both jobs. This module reads
no clock: the time is always somebody's argument.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

TIME_LENGTH = 24
_PARSED_KEPT = 4_096
"""One header's times are asked for again and again: by its check, its facts, its rank."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARKS = ("-", "-", "T", ".", "Z")


@lru_cache(_PARSED_KEPT)
def parse_time_ms(text: str) -> int:
    """`2026-11-22T10:05:00.000Z` as milliseconds since 1970. ValueError for every other spelling."""
    # `fromisoformat` alone takes week dates and any character between date and time.
    if len(text) != TIME_LENGTH or not text.isascii() or (text[4], text[7], text[10], text[19], text[23]) != _MARKS:
        raise ValueError("not RFC 3339 in UTC with milliseconds (2026-11-22T10:05:00.000Z)")
    since = datetime.fromisoformat(text) - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def format_time_ms(ms: int) -> str:
    """The one spelling of that moment. ValueError outside the years 1 to 9999."""
    try:
        moment = datetime.fromtimestamp(ms // 1000, UTC)
    except (OverflowError, OSError) as fault:
        raise ValueError(f"no such moment: {ms} ms") from fault
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z" if moment.year >= 1000 else _early(moment, ms)


def _early(moment: datetime, ms: int) -> str:
    # strftime does not pad years below 1000 on every platform.
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def _checked(text: str) -> str:
    parse_time_ms(text)
    return text


TimeText = Annotated[str, AfterValidator(_checked)]
"""A moment as it stands in a body: RFC 3339, UTC, milliseconds."""
