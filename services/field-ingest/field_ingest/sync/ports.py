"""What a sync answer is made of, as a port: `responder` makes answers from it, `store` fills it from Postgres.

An implementation holds storage only. It promises that a `Moment` is of one moment, that rows below a checkpoint's size are
there once the checkpoint is, and that a checkpoint, once given, is never taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from field_ingest.ledger.checkpoints import StoredCheckpoint
from field_ingest.projection.scope_store import Change, Counter
from field_ingest.sync.receipts import Row
from zb_contracts.healing import Healing
from zb_contracts.merkle import Node, SubtreeHash
from zb_contracts.signed import SignedDocument
from zb_contracts.sync import About, Catalogue


@dataclass(frozen=True, slots=True)
class Asker:
    """An author as an answer shows it. `has_session`: the technician who asks was ever given one on its device.

    `can_renew`: the newest incarnation of its device has the same login key, so that the device may go on by itself;
    `suspended` says why the device is suspended now; `wipe_order` is the order to wipe it that nothing attests to yet.
    """

    device: str | None
    shard: int
    mark: int
    revoked_at_ms: int | None
    revoked_cause: str | None
    stopped_seq: int | None
    stopped_code: str | None
    stopped_message: str | None
    gap_nonce: str | None
    has_session: bool
    can_renew: bool = True
    suspended: str | None = None
    wipe_order: str | None = None
    wipe_at_once: bool = False


@dataclass(frozen=True, slots=True)
class Glance:
    """What shows, in one look, whether there is anything new for whoever asks.

    `size`: rows of the shard's log. `has_rows`: the ledger has some of the author beyond the mark that was asked about.
    `has_lost`: the shard's log once lost rows. `asked`: the technician for whom the device was last noted, and when, in ms.
    """

    asker: Asker
    size: int
    has_rows: bool
    has_lost: bool
    counter: Counter | None
    asked: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Heal:
    """That a shard's log lost rows, and the document that says so."""

    healing: Healing
    document: SignedDocument


@dataclass(frozen=True, slots=True)
class Since:
    """From where on a device lacks its scope: changes after `cursor`, with or without those that took documents away."""

    cursor: int
    tombstones: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """What an answer tells, all of one moment.

    `rows`: the author's beyond its mark, by (seq, position). `counter`: where the technician's change order stands, None where
    nothing was ever in it. `changes`: the latest of each document that moved, in order.
    """

    asker: Asker
    rows: Sequence[Row]
    counter: Counter | None
    changes: Sequence[Change]


class SyncStore(Protocol):
    """Where answers come from."""

    async def glance(self, author: str, technician: str, mark: int) -> Glance | None:
        """The author, and whether an answer needs more than that; None where nobody has this name."""
        ...

    async def moment(self, author: str, technician: str, mark: int, size: int, since: Since | None) -> Moment | None:
        """Rows beyond `mark` below position `size`, and changes `since` then (none for None); None where nobody has this name.

        At most RECEIPTS_MAX rows and DOCUMENTS_MAX changes, and one more of each where there are more.
        """
        ...

    async def catalogues(self, technician: str, wanted: Sequence[str]) -> list[Catalogue]:
        """Those of these catalogues (by hash) to which the technician's scope refers, smallest first."""
        ...

    async def subtrees(self, shard: int, nodes: set[Node]) -> SubtreeHash:
        """The hashes of these complete subtrees of the shard's log, below a checkpoint that was given: they never change."""
        ...

    async def checkpoint(self, shard: int, size: int) -> StoredCheckpoint | None:
        """A checkpoint of the shard that covers `size` rows or more; None for an empty log."""
        ...

    async def heal(self, shard: int) -> Heal | None:
        """The newest loss of the shard's log; None for a log that never lost anything."""
        ...

    async def note_about(self, author: str, told: About, head: int, now_ms: int) -> None:
        """Remember what the author's device told of itself, unless something newer is remembered."""
        ...

    async def note_session(self, device: str, technician: str, asked_ms: int) -> None:
        """Remember for whom the device asked last: hints about that technician's scope reach it."""
        ...
