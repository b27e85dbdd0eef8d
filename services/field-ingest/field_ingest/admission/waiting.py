"""Who may wait: messages that cannot be decided yet, counted by their sender.

JetStream keeps a bounded number of unsettled messages a consumer. One device's backlog must not fill it, so each sender has a
limited number of places here; a message that gets none is given up at once and asked for again. It decides nothing else.
"""

from typing import Final

PLACES_MAX: Final = 128
"""Messages of one sender that wait in one worker: two full batches, the most that an honest backlog needs when workers share
a shard, and a sixteenth of what a consumer keeps unsettled."""
SENDERS_MAX: Final = 10_000
LEFT_AFTER_MS: Final = 120_000
"""Who was not seen again for so long waits elsewhere, or no more: twelve times the longest pause between two deliveries."""


class WaitingRoom:
    """The places of one worker. A message is known by its subject and its sequence in the stream."""

    def __init__(self, places_max: int = PLACES_MAX) -> None:
        self._places_max = places_max
        self._seen_ms: dict[str, dict[int, int]] = {}

    def enter(self, subject: str, sequence: int, at_ms: int) -> bool:
        """Whether the message may wait (on). Its place is kept until it leaves, or is not seen again for LEFT_AFTER_MS."""
        mine = self._seen_ms.get(subject, {})
        if sequence not in mine:
            if len(mine) >= self._places_max:
                self._forget(mine, at_ms)
            if len(mine) >= self._places_max or not self._has_room_for(subject, at_ms):
                return False
        mine[sequence] = at_ms
        self._seen_ms[subject] = mine
        return True

    def leave(self, subject: str, sequence: int) -> None:
        """The message was decided or given up."""
        mine = self._seen_ms.get(subject)
        if mine is not None and mine.pop(sequence, None) is not None and not mine:
            del self._seen_ms[subject]

    def _has_room_for(self, subject: str, at_ms: int) -> bool:
        if subject in self._seen_ms or len(self._seen_ms) < SENDERS_MAX:
            return True
        for mine in self._seen_ms.values():
            self._forget(mine, at_ms)
        self._seen_ms = {name: mine for name, mine in self._seen_ms.items() if mine}
        return len(self._seen_ms) < SENDERS_MAX

    @staticmethod
    def _forget(mine: dict[int, int], at_ms: int) -> None:
        for sequence in [sequence for sequence, seen_ms in mine.items() if at_ms - seen_ms > LEFT_AFTER_MS]:
            del mine[sequence]
