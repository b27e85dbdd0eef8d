"""Scheduling: the real decisions, translations and signatures of the office over rows in memory.

A command is one transaction: decided on what the office knows, recorded, signed, put into the outbox. Announcements come in
through the inbox. The dispatchers who give commands are here too, and as thoughtless as chance.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from scheduling import commands as c
from scheduling.announce import body_of, stream_of
from scheduling.authoring import Fact, merged, messages_of, sign_fact
from scheduling.board import read_announcement
from scheduling.domain import Assigned, Cancelled, Intervention, NotThere, Planned, decide, evolve, is_closed
from scheduling.events import Event
from scheduling.store import Announced, AuthorHead
from scheduling.values import Change, Details, Identity, Reported, Request
from tests.simulation.broker import Broker, Delivered
from tests.simulation.hearing import Hearing
from tests.simulation.keys import key_of
from tests.simulation.memory_outbox import MemoryOutbox
from tests.simulation.relaying import Relays
from tests.simulation.undo import Undo
from tests.simulation.world import HOUR_MS, MINUTE_MS, Killed, World
from zb_contracts.envelope import GENESIS, digest
from zb_contracts.problems import Problem

AUTHOR: Final = "office-main"
PRICES: Final = "main-2026"
SITES: Final = 2


class Office:
    """One agency's office."""

    def __init__(self, world: World, broker: Broker, technicians: list[str]) -> None:
        self.world, self._technicians = world, technicians
        self.outbox = MemoryOutbox(world.clock)
        self.relays = Relays(world, broker, self.outbox, "scheduling")
        self.events: dict[str, list[Event]] = {}
        self.announced: dict[str, Announced] = {}
        self.hearing = Hearing(world, broker, "INTERVENTIONS", self.outbox, "scheduling", self._take, self._version)
        self.commands = 0
        self._heads: dict[str, AuthorHead] = {AUTHOR: AuthorHead(0, GENESIS)}
        self._knowledge: dict[str, dict[str, int]] = {}
        self._offices: dict[str, Intervention] = {}

    def act(self) -> None:
        """One command, of whatever kind; most are sensible."""
        dice = self.world.dice
        if not self.events or (len(self.events) < 4 and dice.random() < 0.3):
            self._create()
            return
        intervention = dice.choice(list(self.events))
        self.command(intervention, dice.choice(_MOVES)(self, self.load(intervention)))

    def open_day(self) -> None:
        """The first interventions, planned and given to somebody, as a morning begins."""
        for technician in self._technicians:
            self._create()
            intervention = list(self.events)[-1] if self.events else ""
            for move in (_plan, lambda office, state: _give(office, state, technician)):  # noqa: B023 called at once
                state = self.load(intervention)
                if not isinstance(state.office, NotThere):
                    self.command(intervention, move(self, state))

    def command(self, intervention: str, command: c.Command | None) -> None:
        """Give one command; a refusal of the domain is an answer like another."""
        if command is None:
            return
        try:
            with self.outbox.undo.transaction():
                self._gate()
                self._decide(intervention, command)
                self._gate()
        except Problem as problem:
            self.world.note("office refused", type(command).__name__, problem.code)
        except Killed:
            self.world.note("killed", "office")
        self.relays.wake()

    def load(self, intervention: str) -> Intervention:
        """The office's view with what the field reported, as its sitting loads it."""
        held = self.announced.get(intervention)
        reported = held.reported if held else Reported()
        return replace(self._offices.get(intervention, Intervention()), reported=reported)

    # --- One command ---

    def _decide(self, intervention: str, command: c.Command) -> None:
        state, undo = self.load(intervention), self.outbox.undo
        events = decide(state, command)
        office = state.office
        facts = []
        for event in events:
            office = evolve(office, event)
            undo.append(self.events.setdefault(intervention, []), event)
            if (body := body_of(event)) is not None:
                fact_id = self.world.uuid7(self.world.now_ms)
                facts.append(Fact(fact_id, stream_of(intervention), body, event.at_ms, dict(state.reported.vector)))
        undo.put(self._offices, intervention, replace(state, office=office, version=state.version + len(events)))
        self._write(undo, facts)
        self.world.note("office", type(command).__name__, intervention, [type(event).__name__ for event in events])
        self.commands += 1

    def _write(self, undo: Undo, facts: list[Fact]) -> None:
        signed = []
        for fact in facts:
            told = {author: seq for author, seq in fact.seen.items() if author != AUTHOR}
            seen = merged(self._knowledge.get(fact.stream, {}), told)
            undo.put(self._knowledge, fact.stream, seen)
            event = sign_fact(fact, AUTHOR, key_of(AUTHOR), "dispatcher-1", self._heads[AUTHOR], seen)
            undo.put(self._heads, AUTHOR, AuthorHead(self._heads[AUTHOR].seq + 1, digest(event.header)))
            signed.append(event)
            self._gate()
        if signed:
            self.outbox.enqueue(undo, messages_of(AUTHOR, signed))

    def _take(self, undo: Undo, message: Delivered) -> None:
        """As scheduling.board.take_announcement: once a message, and only what is newer."""
        announced = read_announcement(message.data)
        if not self.outbox.first_time(undo, "INTERVENTIONS", message.headers["Nats-Msg-Id"]):
            return
        held = self.announced.get(announced.intervention)
        if held is None or held.version < announced.version:
            undo.put(self.announced, announced.intervention, announced)
            self.world.note("office hears", announced.intervention, announced.version)

    def _version(self, subject: str) -> int:
        held = self.announced.get(subject.rpartition(".")[2])
        return held.version if held else 0

    def _gate(self) -> None:
        if self.world.faults.bites("service killed at a write"):
            raise Killed

    # --- What dispatchers think of ---

    def _create(self) -> None:
        number = len(self.events) + 1
        intervention = f"00000000-0000-4000-8000-{number:012x}"
        identity = Identity(
            intervention=intervention,
            agency="main",
            reference=f"INT-{number}",
            kind="repair",
            site=f"site-{number % SITES}",
        )
        details = Details(title="leaky boiler", price_list=PRICES)
        self.command(intervention, c.CreateIntervention(identity=identity, details=details, at_ms=self.world.now_ms))

    def edit(self, state: Intervention) -> dict[str, Any]:
        return {"version": state.version, "at_ms": self.world.now_ms}

    def start_ms(self) -> int:
        return self.world.now_ms + self.world.dice.randint(1, 40) * 15 * MINUTE_MS

    def technician(self) -> str | None:
        return self.world.dice.choice([*self._technicians, *self._technicians, None])


def _plan(office: Office, state: Intervention) -> c.Command:
    may_set = office.world.dice.choice(((), ("planned_start",)))
    return c.PlanIntervention(start_ms=office.start_ms(), duration_min=60, field_may_set=may_set, **office.edit(state))


def _assign(office: Office, state: Intervention) -> c.Command:
    if not isinstance(state.office, Planned | Assigned):
        return _plan(office, state)
    return c.AssignTechnician(technician=office.technician(), **office.edit(state))


def _give(office: Office, state: Intervention, technician: str) -> c.Command:
    return c.AssignTechnician(technician=technician, **office.edit(state))


def _move(office: Office, state: Intervention) -> c.Command:
    return c.MoveIntervention(start_ms=office.start_ms(), **office.edit(state))


def _cancel(office: Office, state: Intervention) -> c.Command:
    return c.CancelIntervention(reason="the customer called", **office.edit(state))


def _reopen(office: Office, state: Intervention) -> c.Command | None:
    known = state.office
    if isinstance(known, NotThere):
        return None
    if not isinstance(known, Cancelled) and not is_closed(known.settled, state.reported):
        return _assign(office, state)
    return c.ReopenIntervention(reason="it leaks again", **office.edit(state))


def _change(office: Office, state: Intervention) -> c.Command:
    title = office.world.dice.choice(("leaky boiler", "cold flat", "no hot water"))
    return c.ChangeDetails(change=Change(title=title), **office.edit(state))


def _abandon(office: Office, state: Intervention) -> c.Command | None:
    visits = [visit for visit in state.reported.visits if visit.open]
    if not visits:
        return _assign(office, state)
    return c.AbandonVisit(visit=office.world.dice.choice(visits).id, reason="no news since", **office.edit(state))


def _answer(office: Office, state: Intervention) -> c.Command | None:
    if not state.reported.requests:
        return _plan(office, state)
    request: Request = office.world.dice.choice(state.reported.requests)
    if office.world.dice.random() < 0.5:
        return c.AcceptRequest(request=request.id, **office.edit(state))
    return c.DeclineRequest(request=request.id, reason="not today", **office.edit(state))


_MOVES: Final[tuple[Callable[[Office, Intervention], c.Command | None], ...]] = (
    _plan, _assign, _assign, _assign, _move, _cancel, _reopen, _change, _abandon, _answer,
)  # fmt: skip
BETWEEN_MS: Final = (5 * MINUTE_MS, 3 * HOUR_MS)
