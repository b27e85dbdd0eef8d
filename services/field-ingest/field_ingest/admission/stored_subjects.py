"""The subjects of stored messages: on which one each was published, and for which shard the broker sorted it.

How it sorts is `routing`'s matter. A route is no authority.
"""


def as_published(subject: str) -> str:
    """The subject on which a stored message was published: without the shard that the broker put in."""
    parts = subject.split(".")
    return ".".join((*parts[:2], *parts[3:])) if len(parts) == 4 else subject


def route_of(subject: str) -> int | None:
    """The shard for which the broker stored a message; None where it did not sort."""
    parts = subject.split(".")
    return int(parts[2]) if len(parts) == 4 and parts[2].isdecimal() else None
