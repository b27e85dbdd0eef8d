"""A closed cut through several logs: whatever an event in it had seen is in it too. Pure.

One log may be cut anywhere, because admission takes no event before what it has seen. Of several, one may be read ahead: then a
state would show an answer without what it answers, its vector would name what nobody was shown, and who writes on it would
silently overrule that. The reader of several logs asks here how far it may go; what lies where is its store's matter.
"""

from collections.abc import Iterable, Mapping

import msgspec

from field_ingest.projection.ports import Claim, LedgerRow, Place


class _Seen(msgspec.Struct, frozen=True):
    seen: dict[str, int]


_seen_of = msgspec.json.Decoder(_Seen)


def claims(rows: Iterable[LedgerRow]) -> list[tuple[Place, Claim]]:
    """What these rows had seen of other authors: where the row lies, and what it claims."""
    return [
        (Place(row.shard, row.position), Claim(row.stream, author, seq))
        for row in rows
        for author, seq in _seen_of.decode(row.header).seen.items()
        if author != row.author
    ]


def closed(ends: Mapping[int, int], made: Iterable[tuple[Place, Claim]], places: Mapping[Claim, Place]) -> dict[int, int]:
    """The furthest closed ends within `ends` (shard -> first position that is not read).

    `made` are the claims of the rows that would be read, `places` where the newest row of each lies, if that is not read yet.
    Some row is always left: the one that was admitted first of all that are not read has seen none of them.
    """
    found = dict(ends)
    links = [(one, places[claim]) for one, claim in made if claim in places and places[claim].shard != one.shard]
    shrunk = True
    while shrunk:
        shrunk = False
        for one, other in links:
            if one.position < found[one.shard] and other.position >= found.get(other.shard, 0):
                found[one.shard] = one.position
                shrunk = True
    return found
