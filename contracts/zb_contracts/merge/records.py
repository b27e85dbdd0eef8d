"""What every fold keeps of every event, read or not: ids, the whole vector, and what the rules could not read."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from zb_contracts.merge.causality import MergeEvent, by_rank
from zb_contracts.merge.state import Unknown


class Record:
    """The book of one stream."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._ids: set[str] = set()
        self._vector: dict[str, int] = {}
        self._unread: dict[tuple[str, str], list[MergeEvent]] = defaultdict(list)

    def take(self, event: MergeEvent) -> bool:
        """Count the event, once: False for one that was counted before."""
        header = event.header
        if header.id in self._ids:
            return False
        self._ids.add(header.id)
        vector = self._vector
        # A later author repeats this vector as `seen`, which must cover what the events it covers had seen.
        for author, seq in (*header.seen.items(), (header.author, header.seq)):
            if seq > vector.get(author, 0):
                vector[author] = seq
        return True

    def unread(self, event: MergeEvent, reason: str) -> None:
        """The event stands outside every field, for ever under these rules."""
        self._unread[event.header.type, reason].append(event)

    def header(self, rule_version: int, also: Mapping[str, Sequence[MergeEvent]] | None = None) -> dict[str, Any]:
        """The part that all states share. `also`: reason -> events that only the whole set shows to be unreadable."""
        unread = {key: list(events) for key, events in self._unread.items()}
        for reason, events in (also or {}).items():
            for event in events:
                unread.setdefault((event.header.type, reason), []).append(event)
        return {
            "stream": self.stream,
            "rule_version": rule_version,
            "vector": dict(sorted(self._vector.items())),
            "events": len(self._ids),
            "unknown": [
                Unknown(type=kind, reason=reason, count=len(events), events=[event.id for event in by_rank(events)])
                for (kind, reason), events in sorted(unread.items())
            ],
        }
