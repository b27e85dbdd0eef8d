"""Facts from states that the real merge made of real events: what billing reads is what the fold writes."""

from typing import Any

from billing_bridge.facts import facts_of
from zb_contracts.envelope import BODY_TYPE, GENESIS, Anchor, Header
from zb_contracts.events import AuthorKind, fieldwork, office, type_of
from zb_contracts.events.values import File
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.fold import fold
from zb_contracts.merge.headers import narrowed
from zb_contracts.merge.state import InterventionState
from zb_contracts.times import format_time_ms

LEAKY_BOILER = "01900000-0000-7000-8000-00000000b011"
MINUTE = 60_000


class Day:
    """Events in the order in which they were recorded, each knowing all before it."""

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        self.events: list[MergeEvent] = []
        self.seqs: dict[str, int] = {}
        self.visit: str | None = None

    def add(self, body: Any, minute: int, *, by: str = "dev-1", off_ms: int = 0) -> str:
        event_id = f"01900000-0000-7000-8000-{len(self.events) + 1:012d}"
        seen = {author: seq for author, seq in self.seqs.items() if author != by}
        self.seqs[by] = self.seqs.get(by, 0) + 1
        device = by.startswith("dev")
        header = Header(
            id=event_id,
            author=by,
            seq=self.seqs[by],
            prev=GENESIS,
            type=type_of(body).name,
            stream=f"intervention:{LEAKY_BOILER}",
            visit=self.visit if device else None,
            actor="anna" if device else None,
            token=None,
            at=format_time_ms(self.start_ms + minute * MINUTE + off_ms),
            boot=None,
            elapsed_ms=minute * MINUTE if device else None,
            anchor=Anchor("a-1", format_time_ms(self.start_ms)) if device else None,
            seen=seen,
            body_sha256="0" * 64,
            body_type=BODY_TYPE,
        )
        self.events.append(MergeEvent(narrowed(header), body, AuthorKind.DEVICE if device else AuthorKind.OFFICE))
        return event_id

    def state(self) -> InterventionState:
        state = fold(f"intervention:{LEAKY_BOILER}", self.events)
        assert isinstance(state, InterventionState)
        return state


def test_a_day_off_line_with_a_wall_clock_that_jumps_is_measured_by_trusted_time(story: Any) -> None:
    day = Day(story.TEN_OH_FIVE)
    day.add(
        office.InterventionCreated(
            reference="LEAKY-1",
            kind="repair",
            title="Boiler leaks",
            site="s-1",
            agency="main",
            contract="C-1",
            price_list="PL-2026",
        ),
        0,
        by="office-main",
    )
    day.visit = day.add(fieldwork.Started(), 0)
    used = day.add(fieldwork.PartUsed(part="SEAL-12", quantity="2"), 5)
    mistaken = day.add(fieldwork.PartUsed(part="PIPE", quantity="9.5"), 6)
    day.add(fieldwork.LineVoided(line=mistaken, reason="wrong van"), 7)
    photo = day.add(fieldwork.PhotoTaken(file=File(sha256=story.HASH, length_bytes=9, mime="image/jpeg"), source="camera"), 8)
    day.add(fieldwork.Paused(), 10)
    # The wall clock jumps a year ahead in the pause; the trusted time does not.
    day.add(fieldwork.Resumed(), 30, off_ms=365 * 86_400_000)
    day.add(fieldwork.Done(), 50, off_ms=365 * 86_400_000)
    facts = facts_of(day.state())
    assert (facts.status, facts.reference, facts.agency) == ("done", "LEAKY-1", "main")
    assert (facts.contract, facts.price_list) == ("C-1", "PL-2026")
    assert [(part.line, part.part, part.quantity) for part in facts.parts] == [(used, "SEAL-12", "2")]
    assert [(proof.line, proof.sha256) for proof in facts.proofs] == [(photo, story.HASH)]
    assert [(visit.visit, visit.worked_ms) for visit in facts.visits] == [(day.visit, 30 * MINUTE)]
    assert facts.ended_ms == story.TEN_OH_FIVE + 50 * MINUTE
    assert facts.seen == {"dev-1": 8, "office-main": 1}


def test_a_visit_that_never_began_to_work_is_no_work(story: Any) -> None:
    day = Day(story.TEN_OH_FIVE)
    day.visit = day.add(fieldwork.TravelStarted(), 0)
    day.add(fieldwork.NotDone(reason_code="nobody-there"), 20)
    facts = facts_of(day.state())
    assert (facts.status, facts.visits, facts.parts) == ("not_done", [], [])
