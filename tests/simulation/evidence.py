"""media as it runs: what merged states demand, met with the files that came up, announced when it changes.

Demands, assessment and announcement are the real code; rows and files are in memory. A file is stored when its bytes have the
hash under which they came.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from media.domain import Demand, Evidence, assess, demands
from media.evidence import announcement
from tests.simulation.broker import Broker, Delivered
from tests.simulation.hearing import Hearing
from tests.simulation.memory_outbox import MemoryOutbox
from tests.simulation.relaying import Relays
from tests.simulation.undo import Undo
from tests.simulation.world import World
from zb_contracts.announcements import InterventionAnnounced
from zb_contracts.merge.state import InterventionState


@dataclass(frozen=True, slots=True)
class Row:
    """One intervention's evidence as it was announced last."""

    state_version: int = 0
    version: int = 0
    wanted: tuple[Demand, ...] = ()
    evidence: Evidence = field(default_factory=lambda: Evidence(()))


class Media:
    """The evidence store."""

    def __init__(self, world: World, broker: Broker) -> None:
        self.world = world
        self.outbox = MemoryOutbox(world.clock)
        self.relays = Relays(world, broker, self.outbox, "media")
        self.files: dict[str, bytes] = {}
        self.rows: dict[str, Row] = {}
        self.hearing = Hearing(world, broker, "INTERVENTIONS", self.outbox, "media", self._take)

    def upload(self, sha256: str, data: bytes) -> bool:
        """Bytes from a device; whether they are stored, verified."""
        if hashlib.sha256(data).hexdigest() != sha256:
            return False
        with self.outbox.undo.transaction():
            self.outbox.undo.put(self.files, sha256, data)
            for intervention, row in list(self.rows.items()):
                if any(demand.sha256 == sha256 for demand in row.wanted):
                    self._reassess(self.outbox.undo, intervention, row)
        self.relays.wake()
        return True

    def _take(self, undo: Undo, message: Delivered) -> None:
        announced = InterventionAnnounced.model_validate_json(message.data)
        row = self.rows.get(announced.intervention, Row())
        if announced.version <= row.state_version:
            return
        wanted = demands(msgspec.convert(announced.state, InterventionState))
        self._reassess(undo, announced.intervention, Row(announced.version, row.version, wanted, row.evidence))
        self.relays.wake()

    def _reassess(self, undo: Undo, intervention: str, row: Row) -> None:
        evidence = assess(row.wanted, self._stored(row.wanted))
        version = row.version
        if evidence.items != row.evidence.items:
            version += 1
            self.outbox.enqueue(undo, [announcement(intervention, version, evidence, self.world.now_ms)])
        undo.put(self.rows, intervention, Row(row.state_version, version, row.wanted, evidence))

    def _stored(self, wanted: Sequence[Demand]) -> dict[str, int]:
        return {demand.sha256: len(self.files[demand.sha256]) for demand in wanted if demand.sha256 in self.files}
