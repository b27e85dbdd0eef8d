"""The office's desk: one transaction in which commands are decided, recorded, signed, sent and shown on the board.

`Desk.sitting` opens the transaction and takes the agency's pen first; `decide` may be called for several interventions; all
of it commits at the end of the block, or nothing. Rules are domain.py's, tables store.py's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID

from scheduling import store
from scheduling.announce import body_of, stream_of
from scheduling.authoring import Fact, Pen, take_pen
from scheduling.commands import Command
from scheduling.custody.vault import Vault
from scheduling.domain import Intervention, NotThere, Office, decide, evolve
from scheduling.events import TOPICS, Event
from scheduling.ids import IdSource
from scheduling.keys import Keyring
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_chassis.repository import EventMapper, Repository, VersionConflict
from zb_contracts.problems import VERSION_CONFLICT, Problem

INTERVENTIONS: Repository[Office, Event] = Repository(EventMapper(TOPICS), initial=NotThere(), evolve=evolve)


@dataclass(frozen=True)
class Desk:
    """What every command needs, written out."""

    pool: Pool
    keyring: Keyring
    clock: Clock
    ids: IdSource
    vault: Vault
    """The keys of data subjects, in a database of their own."""

    @asynccontextmanager
    async def sitting(self, agency: str, actor: str | None) -> AsyncIterator["Sitting"]:
        """One transaction of this agency's office; other commands of the agency wait for its end."""
        async with transaction(self.pool) as connection:
            pen = await take_pen(connection, self.keyring, agency, actor)
            sitting = Sitting(self, connection, pen)
            yield sitting
            await sitting.finish()


class Sitting:
    """The commands of one transaction. Facts are signed together at its end, in the order in which they were decided."""

    def __init__(self, desk: Desk, connection: Connection, pen: Pen) -> None:
        self.desk = desk
        self.connection = connection
        self.now_ms = desk.clock()
        self._pen = pen
        self._facts: list[Fact] = []
        self._states: dict[str, Intervention] = {}

    async def load(self, intervention: str) -> Intervention:
        """The intervention with what the field reported; unknown where there is none."""
        if intervention in self._states:
            return self._states[intervention]
        loaded = await INTERVENTIONS.load(self.connection, UUID(intervention))
        return Intervention(loaded.state, loaded.version, await store.load_reported(self.connection, intervention))

    async def decide(self, intervention: str, command: Command) -> Intervention:
        """Decide one command and record what happened; the state afterwards. Raises the Problems of the domain."""
        state = await self.load(intervention)
        events = decide(state, command)
        if not events:
            return state
        try:
            await INTERVENTIONS.append(self.connection, UUID(intervention), state.version, events)
        except VersionConflict as conflict:
            raise Problem(VERSION_CONFLICT, id=intervention, actual=state.version + 1, seen=state.version) from conflict
        office = state.office
        for event in events:
            office = evolve(office, event)
            self._announce(intervention, state, event)
        self._states[intervention] = after = replace(state, office=office, version=state.version + len(events))
        return after

    def add(self, fact: Fact) -> None:
        """A fact of another stream (a site, a piece of equipment), to be signed in its turn."""
        self._facts.append(fact)

    def new_id(self) -> str:
        """A fresh UUIDv7 of this moment."""
        return self.desk.ids(self.now_ms)

    async def finish(self) -> None:
        """Sign, enqueue, and write the board: what is new since the last time."""
        facts, self._facts = self._facts, []
        await self._pen.write(facts)
        await store.save_board(self.connection, list(self._states.values()))

    def _announce(self, intervention: str, state: Intervention, event: Event) -> None:
        body = body_of(event)
        if body is not None:
            seen = dict(state.reported.vector)
            self._facts.append(Fact(self.new_id(), stream_of(intervention), body, event.at_ms, seen))
