"""field-ingest as it runs: admission a shard, the projection, sync, its relays; real code over the stores in memory.

Its processes are killed at any step of their stores and begin again with empty memories; the stores stay. Statements of the
ledger's own author (enrolled, revoked, admitted) are signed by the real LedgerAuthor.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from field_ingest.admission.admitting import Admission
from field_ingest.admission.domain import Author
from field_ingest.admission.intake import ACK_WAIT_S, Intake
from field_ingest.admission.verification import Verifier
from field_ingest.ledger.keyring import INGEST
from field_ingest.ledger.ledger_keys import LedgerKey, LedgerKeys
from field_ingest.ledger.ports import LedgerAway
from field_ingest.ledger.shards import shard_of
from field_ingest.ledger.signing import LedgerAuthor, Statement
from field_ingest.projection.folding import Folds
from field_ingest.projection.projector import Projector, Step
from field_ingest.projection.scope import ScopeLimits
from field_ingest.projection.scoping import Scopes
from field_ingest.sync.responder import SyncResponder
from tests.simulation.broker import Broker, Consumer, Delivered
from tests.simulation.keys import CERTIFICATES, ESCROW, LEDGER, key_of
from tests.simulation.memory_ledger import Hold, MemoryLedger
from tests.simulation.memory_outbox import MemoryOutbox
from tests.simulation.memory_sync import MemorySyncStore
from tests.simulation.memory_views import MemoryViews
from tests.simulation.relaying import Relays
from tests.simulation.world import HOUR_MS, SECOND_MS, Killed, Worker, World, instantly
from zb_chassis.consuming import DeadLetters
from zb_contracts.envelope import parse_header
from zb_contracts.events import AuthorKind
from zb_contracts.events.devices import DeviceRevoked
from zb_contracts.events.office import EventAdmitted

BATCH_MAX: Final = 16
LIMITS: Final = ScopeLimits(documents_max=40, keep_days=3)
FETCH_MS: Final = (2, 40)
SWEEP_MS: Final = 6 * HOUR_MS


class Ingest:
    """The service."""

    def __init__(self, world: World, broker: Broker, shards: int, partitions: int) -> None:
        self.world, self.broker = world, broker
        self.ledger = MemoryLedger(shards, gate=self._gate)
        self.outbox = MemoryOutbox(world.clock)
        self.views = MemoryViews(self.ledger, self.outbox, partitions=partitions, gate=self._views_gate)
        self.sync_store = MemorySyncStore(self.views, LEDGER)
        self.settled: Callable[[Delivered], None] = lambda _: None
        self._quiet = False
        self._nonces = (f"{number:032x}" for number in itertools.count(1))
        self._signer = LedgerAuthor(key_of(INGEST), world.clock, world.uuid7)
        keys = LedgerKeys([LedgerKey(CERTIFICATES[0], LEDGER)], world.clock)
        self._responder = SyncResponder(self.sync_store, keys, clock=world.clock, new_id=lambda: world.uuid7(world.now_ms))
        self.relays = Relays(world, broker, self.outbox, INGEST)
        self._projection = Worker(world, "projector", self._project, self._new_projector)
        self._new_projector()
        self._admissions = [self._admission(name, shard) for shard in range(shards) for name in ("FIELD", "OFFICE")]
        self.enrol(INGEST, AuthorKind.SERVICE)

    # --- Authors, and what the ledger itself says ---

    def enrol(self, name: str, kind: AuthorKind) -> None:
        """A server-side author with the key of its name."""
        shard = shard_of(name, len(self.ledger.shards))
        self.ledger.register(Author(name, kind, "main", None, None, key_of(name).public, shard, 0, bytes(32)))

    def enrol_device(self, author: str, device: str, technician: str, event_key: bytes) -> None:
        """An incarnation of a device."""
        shard = shard_of(device, len(self.ledger.shards))
        self.ledger.register(Author(author, AuthorKind.DEVICE, "main", device, technician, event_key, shard, 0, bytes(32)))
        self.world.note("enrolled", author)

    def revoke(self, device: str) -> None:
        """What any incarnation of this device sends from now on is held."""
        with self._undisturbed():
            for author in [one for one in self.ledger.authors.values() if one.device == device]:
                if author.revoked_at_ms is None:
                    self.ledger.revoke(author.author, self.world.now_ms)
                    self._state(Statement(f"device:{device}", DeviceRevoked(device=device, author=author.author, cause="lost")))

    def next_hold(self, author: str) -> Hold | None:
        """The held event of the author that a supervisor must decide next."""
        waiting = [hold for hold in self.ledger.holds.values() if hold.author == author and hold.admitted_by is None]
        return min(waiting, key=lambda hold: hold.seq, default=None)

    def admit(self, hold: Hold) -> None:
        """A supervisor lets a held event in."""
        header = parse_header(self.ledger.chain[hold.author, hold.seq].header)
        body = EventAdmitted(
            event=hold.event_id, author=hold.author, author_seq=hold.seq, supervisor="supervisor-1", reason="she was there"
        )
        with self._undisturbed():
            self._state(Statement(hold.stream, body, header.seen | {hold.author: hold.seq}, "supervisor-1"))

    async def answer(self, subject: str, request: bytes) -> bytes | None:
        """One sync request, answered at once."""
        with self._undisturbed():
            return instantly(self._responder.answer(subject, request))

    def idle(self) -> bool:
        """Nothing waits anywhere in here."""
        consumers = (consumer.due_in_ms() for _, consumer in self._admissions)
        behind = any(self.views.marks.get((partition, shard), 0) < len(log.rows) for partition in range(self.views.partitions)
                     for shard, log in self.ledger.shards.items())  # fmt: skip
        return not behind and not self.views.due and not self.outbox.unsent() and all(due is None for due in consumers)

    # --- The processes ---

    def _admission(self, stream: str, shard: int) -> tuple[Worker, Consumer]:
        consumer = self.broker.consumer(stream, ack_wait_s=ACK_WAIT_S, shard=shard, fault="broker out of order")
        letters = DeadLetters(self.broker, "field-ingest")  # type: ignore[arg-type]

        def born() -> Intake:
            verifier = Verifier(ESCROW, threads=0)
            admission = Admission(self.ledger, verifier, self.world.clock, nonce=lambda: next(self._nonces))
            return Intake(admission, letters, (), pause=lambda s: self.world.pause(round(s * SECOND_MS)))

        intake = born()

        def restarted() -> None:
            nonlocal intake
            intake = born()

        async def work() -> int | None:
            batch = consumer.fetch(self.world.dice.randint(1, BATCH_MAX))
            if batch:
                await intake.take(batch)  # type: ignore[arg-type]
                for message in batch:
                    self.settled(message)
                self._projection.wake()
            return consumer.due_in_ms()

        worker = Worker(self.world, f"admission {stream} {shard}", work, restarted)
        self.broker.streams[stream].heard.append(lambda: worker.wake(self.world.dice.randint(*FETCH_MS)))
        return worker, consumer

    def _new_projector(self) -> None:
        self._projector = Projector(self.views, limits=LIMITS, clock=self.world.clock, folds=Folds())
        self._scopes = Scopes(self.views, limits=LIMITS, clock=self.world.clock, new_epoch=self._epoch)

    async def _project(self) -> int | None:
        partitions = list(range(self.views.partitions))
        self.world.dice.shuffle(partitions)
        for partition in partitions:
            step: Step = await self._projector.step([partition])
            await self.world.pause(self.world.dice.randint(1, 20))
            if step.rows:
                self.world.note("projected", partition, step.passed, step.states)
        moved = await self._scopes.step()
        self.relays.wake()
        if moved is not None or any(not self._caught_up(partition) for partition in partitions):
            return self.world.dice.randint(1, 200)
        await self._scopes.sweep()
        return SWEEP_MS if not self.views.due else 1

    def _caught_up(self, partition: int) -> bool:
        return all(self.views.marks.get((partition, shard), 0) == len(log.rows) for shard, log in self.ledger.shards.items())

    def _epoch(self) -> str:
        self.world.invention += 1
        return f"epoch-{self.world.invention}"

    def _state(self, statement: Statement) -> None:
        async def stated() -> Any:
            async with self.ledger.transaction() as transaction:
                return await self._signer.state(transaction, [statement])

        rows = instantly(stated())
        self.world.note("stated", statement.stream, type(statement.body).__name__, rows[0].position)
        self._projection.wake()

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """What is done at somebody's request: its failing is that request's matter, not modelled here."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _gate(self, step: str) -> None:
        self._views_gate(step)
        if not self._quiet and step != "committed" and self.world.faults.bites("ingest's database away"):
            raise LedgerAway(f"away at {step}")

    def _views_gate(self, _: str) -> None:
        if not self._quiet and self.world.faults.bites("ingest killed at a write"):
            raise Killed
