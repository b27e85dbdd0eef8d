"""Texts of strangers on a terminal: what a device, a person or a forged message said must not move the cursor or hide a line.

Stored and sent texts stay as they are; whoever prints one asks here.
"""

from typing import Final

STANDS_FOR: Final = "\ufffd"


def printable(text: str) -> str:
    """One line of the same length, with a sign in the place of each control character, line break and half a surrogate pair."""
    return text if text.isprintable() else "".join(one if one.isprintable() else STANDS_FOR for one in text)
