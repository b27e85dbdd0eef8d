"""The company of one run: its devices, its services and its broker, a storm of some days, and the calm after it.

In the storm everybody acts by chance and everything fails by plan. In the calm nothing fails any more, people unlock their
devices and have a network, supervisors decide what was held; then all must come to rest. Invariants are `invariants`' matter.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from field_ingest.ledger.shards import shard_of
from tests.simulation import hostile
from tests.simulation.bridge import Bridge
from tests.simulation.broker import Broker
from tests.simulation.doorway import Doorway
from tests.simulation.evidence import Media
from tests.simulation.handset import CLOCK_ERRORS_MS, Confirmed, Handset
from tests.simulation.ingest import Ingest
from tests.simulation.keys import key_of, wrap_key_of
from tests.simulation.network import Line
from tests.simulation.office import AUTHOR as OFFICE
from tests.simulation.office import Office
from tests.simulation.technician import Technician
from tests.simulation.world import DAY_MS, HOUR_MS, MINUTE_MS, Broken, Killed, World
from zb_contracts.events import AuthorKind
from zb_device.faults import DeviceFault

CREW: Final = (("device-a", "tech-a"), ("device-b", "tech-b"), ("device-c", "tech-a"))
"""Two people, three devices: one of them has two."""
STORM_MS: Final = (4 * HOUR_MS, 12 * HOUR_MS, 3 * DAY_MS, 9 * DAY_MS)
GESTURES: Final = 18
COMMANDS: Final = 16
CALM_MS: Final = 4 * HOUR_MS
CALM_STEP_MS: Final = 3 * MINUTE_MS


class Company:
    """Everybody and everything. `home` is an empty folder on a fast disk."""

    def __init__(self, world: World, home: Path) -> None:
        dice = world.dice
        self.world = world
        shards = dice.choice((1, 1, 2))
        self.broker = Broker(world, shards)
        self.ingest = Ingest(world, self.broker, shards, dice.choice((1, 2, 4)))
        self.ingest.enrol(OFFICE, AuthorKind.OFFICE)
        self.ingest.enrol("billing-bridge", AuthorKind.SERVICE)
        self.ingest.enrol_device(hostile.AUTHOR, hostile.DEVICE, hostile.TECHNICIAN, key_of(hostile.AUTHOR).public)
        self.office = Office(world, self.broker, sorted({technician for _, technician in CREW}))
        self.media = Media(world, self.broker)
        self.bridge = Bridge(world, self.broker)
        self.hostile = hostile.Hostile(world, self.broker, self.ingest)
        self.confirmed: dict[str, Confirmed] = {}
        self.gone: set[Path] = set()
        self.crew = [Technician(self._handset(home, device, technician)) for device, technician in CREW]
        self.storm_ms = dice.choice(STORM_MS)
        self.rested_after_ms: int | None = None
        for technician in self.crew:
            technician.handset.begin()

    @property
    def handsets(self) -> list[Handset]:
        return [technician.handset for technician in self.crew]

    def storm(self) -> None:
        """Some hours or days in which everybody acts and everything fails."""
        for technician in self.crew:
            handset = technician.handset
            self._now_and_then(GESTURES, lambda one=technician: self._guarded(one.handset, one.act))  # type: ignore[misc]
            self._now_and_then(GESTURES, lambda one=handset: self._sync(one))  # type: ignore[misc]
            self._now_and_then(8, lambda one=handset: self._mishap(one))  # type: ignore[misc]
            self._now_and_then(6, lambda one=handset: self._habit(one))  # type: ignore[misc]
        self.office.open_day()
        self._now_and_then(COMMANDS, self.office.act)
        self._now_and_then(5, self.bridge.make_batch)
        self._now_and_then(16, self._elsewhere)
        self.world.run(self.world.now_ms + self.storm_ms)

    def calm(self) -> None:
        """Nothing fails any more: until all has come to rest. Broken when that takes too long."""
        self.world.note("calm")
        self.world.faults.calm()
        begun_ms = self.world.now_ms
        while self.world.now_ms < begun_ms + CALM_MS:
            for handset in self.handsets:
                handset.line.up, handset.is_locked = True, self.is_revoked(handset.device)
                handset.doorway.is_refused = lambda: False
                handset.rounds.drain_until_ms = 0
                self._sync(handset)
            self._supervise()
            self.bridge.make_batch()
            self.world.run(self.world.now_ms + CALM_STEP_MS)
            if self._rests():
                self.rested_after_ms = self.world.now_ms - begun_ms
                return
        raise Broken("it comes to rest", f"not within {CALM_MS // HOUR_MS} h: {self._unrest()}")

    def close(self) -> None:
        for handset in self.handsets:
            handset.switch_off()

    # --- The calm ---

    def _rests(self) -> bool:
        return not self._unrest()

    def _unrest(self) -> list[str]:
        found = [f"{handset.device}: {what}" for handset in self.handsets for what in self._work_of(handset)]
        for name, hearing in (("office", self.office), ("media", self.media), ("bridge", self.bridge)):
            if hearing.hearing.consumer.due_in_ms() is not None or hearing.outbox.unsent():
                found.append(f"{name} has work")
        if self.bridge.hearing_evidence.consumer.due_in_ms() is not None:
            found.append("bridge has evidence to hear")
        return found if self.ingest.idle() else [*found, "ingest has work"]

    def _work_of(self, handset: Handset) -> list[str]:
        log, scope = handset.parts.log.counts(), handset.reading.scope()
        if self.is_revoked(handset.device) and handset.author not in self.ingest.ledger.authors:
            return []  # it went on as somebody whom the platform does not take any more: a person has to look
        # A revoked device is told nothing of the scope any more, and what the ledger never had of a fork stays with it.
        behind = not self.is_revoked(handset.device) and scope.cursor != self._change_of(handset.technician)
        waits = {
            "syncs": handset.is_syncing,
            "has events to send": log["queued"],
            "waits for the ledger": log["received"],
            "has files to send": handset.parts.media.waiting() and not handset.is_locked,
            f"is at change {scope.cursor} of its scope": behind,
        }
        return [what for what, is_so in waits.items() if is_so]

    def is_revoked(self, device: str) -> bool:
        authors = self.ingest.ledger.authors.values()
        return any(author.device == device and author.revoked_at_ms is not None for author in authors)

    def _change_of(self, technician: str) -> int:
        counter = self.ingest.views.counters.get(technician)
        return counter.change if counter else 0

    def _supervise(self) -> None:
        """Of each author the next held event is let in."""
        for author in list(self.ingest.ledger.authors):
            hold = self.ingest.next_hold(author)
            if hold is not None:
                self.ingest.admit(hold)

    # --- What happens in the storm ---

    def _now_and_then(self, times: int, what: Callable[[], None]) -> None:
        """About so many times until the storm's end, at moments that chance chooses."""
        for _ in range(times):
            self.world.after(self.world.dice.randrange(self.storm_ms), what)

    def _guarded(self, handset: Handset, what: Callable[[], None]) -> None:
        """Do something on a device, which may die in it."""
        try:
            what()
        except Killed:
            handset.die(self.world.dice.random())
        except DeviceFault as fault:
            self.world.note(handset.device, "cannot:", type(fault).__name__)

    def _sync(self, handset: Handset) -> None:
        handset.start_sync()
        self._guarded(handset, lambda: self._upload(handset))

    def _upload(self, handset: Handset) -> None:
        if not handset.line.up or handset.is_locked:
            return
        media = handset.parts.media
        for item in media.waiting():
            data = media.read(item, wrap_key_of(handset.technician))
            if self.world.faults.bites("request lost"):
                continue
            stored = self.media.upload(item.sha256, data)
            if stored and not self.world.faults.bites("answer lost"):
                media.stored(item.sha256)

    def _habit(self, handset: Handset) -> None:
        """The network comes and goes, the device is locked and unlocked, the session is a person's or a drain's."""
        dice = self.world.dice
        match dice.randrange(4):
            case 0 | 1:
                handset.line.up = not handset.line.up
            case 2:
                handset.is_locked = dice.random() < 0.5
            case _:
                is_refused = dice.random() < 0.3
                handset.doorway.is_refused = lambda: is_refused

    def _mishap(self, handset: Handset) -> None:
        faults, dice = self.world.faults, self.world.dice
        if dice.random() < 0.3:
            handset.back_up()
        if faults.bites("device's clock set"):
            handset.clocks.wall_error_ms = dice.choice(CLOCK_ERRORS_MS)
        if faults.bites("device reboots"):
            handset.reboot()
        if handset.backups and faults.bites("device restored from a backup"):
            handset.restore()
        if faults.bites("device destroyed"):
            handset.destroy()
        if faults.bites("device revoked"):
            self.ingest.revoke(handset.device)

    def _elsewhere(self) -> None:
        if self.world.faults.bites("broker loses its end"):
            self.broker.lose_end("FIELD")
        if self.world.faults.bites("hostile message"):
            self.hostile.act()
        if self.world.dice.random() < 0.2:
            self._supervise()

    # --- Devices ---

    def _handset(self, home: Path, device: str, technician: str) -> Handset:
        shard = shard_of(device, len(self.ingest.ledger.shards))
        origin = self.ingest.ledger.shards[shard].origin

        def lie(request: bytes, honest: bytes) -> bytes:
            if self.world.dice.random() < 0.5:
                return hostile.another_log(origin, request, honest)
            return hostile.false_receipts(self.broker, request, honest)

        line = Line(self.world, self.broker, self.ingest.answer, lie, device, lambda: handset.session_technician())
        handset = Handset(
            world=self.world,
            doorway=Doorway(self.ingest, line, technician),
            home=home,
            device=device,
            technician=technician,
            line=line,
            shard=shard,
            origin=origin,
            confirmed=self._confirm,
            lost=self.gone.add,
            moved=self._move,
            enrolled=self.ingest.enrol_device,
            gap_since=lambda: self._gap_of(handset),
        )
        return handset

    def _gap_of(self, handset: Handset) -> int | None:
        author = self.ingest.ledger.authors.get(handset.author)
        return author.gap_at_ms if author is not None and author.gap_nonce is not None else None

    def _confirm(self, event: Confirmed) -> None:
        self.confirmed[event.id] = event

    def _move(self, before: Path, after: Path) -> None:
        for event in self.confirmed.values():
            if event.folder == before:
                event.folder = after
