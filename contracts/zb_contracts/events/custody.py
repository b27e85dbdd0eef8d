"""What the office tells the ledger about the keys of data subjects: that they were destroyed.

It stands on the office's own stream, so that no state of the field's work changes by it. It holds ids of subjects and keys and
no personal value; keys themselves never stand in an event of this module.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from zb_contracts.events.registry import OFFICE, Body, event
from zb_contracts.events.values import Code, Id

KIDS_PER_EVENT_MAX: Final = 256


@event("subject.erased.v1", "device", OFFICE)
class SubjectErased(Body):
    """The keys of a data subject were destroyed: what is sealed under them can never be read again."""

    subject: Id
    kids: Annotated[tuple[Code, ...], Field(min_length=1, max_length=KIDS_PER_EVENT_MAX)]
    cause: Literal["request", "expired"]
