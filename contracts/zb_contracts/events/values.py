"""The value types that event bodies are made of: names with limits, quantities as exact text, positions, money.

Numbers are integers or decimal strings, because canonical JSON has no floats. Personal values are sealed (see `sealed`).
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from zb_contracts.events.registry import Body
from zb_contracts.sealed import SealedValue


def storable(text: str) -> str:
    """The text. ValueError for one with a NUL: no database of ours holds one, so a state with it would reach nobody."""
    if "\0" in text:
        raise ValueError("a text has no NUL")
    return text


Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000), AfterValidator(storable)]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Decimal = Annotated[str, StringConstraints(pattern=r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?$")]
"""An exact decimal as text; no exponent, no leading zeros."""
Cents = Annotated[int, Field(ge=-(10**12), le=10**12)]
"""Money in the minor unit of its currency."""
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Minutes = Annotated[int, Field(ge=0, le=14 * 24 * 60)]
Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,1024}$")]

PersonalText = Text | SealedValue
"""Free text that may name a person: sealed where the author knows that it does."""


class Position(Body):
    """Where something was, by whom measured. Coordinates in 10^-7 degrees (WGS 84), accuracy in metres."""

    latitude_e7: Annotated[int, Field(ge=-900_000_000, le=900_000_000)]
    longitude_e7: Annotated[int, Field(ge=-1_800_000_000, le=1_800_000_000)]
    accuracy_m: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    source: Literal["gnss", "network", "import", "manual"]
    mock: bool = False


class WrappedKey(Body):
    """A data subject's key, sealed (X25519) to the holder of `recipient_kid`: how a key made off line reaches escrow."""

    kid: Code
    recipient_kid: Code
    wrapped: Base64


class File(Body):
    """Bytes in the evidence store, known by their hash. The event and the bytes may arrive in any order."""

    sha256: Sha256
    length_bytes: Annotated[int, Field(ge=1, le=2**31)]
    mime: Annotated[str, StringConstraints(pattern=r"^[a-z]+/[a-z0-9.+-]{1,64}$")]


class PriceLine(Body):
    """One line of a quote."""

    label: Name
    quantity: Decimal
    unit_price_cents: Cents
