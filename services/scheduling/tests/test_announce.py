"""Whatever the office decides can be said in the contract's words, and read back."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduling import commands as c
from scheduling import events as e
from scheduling.announce import body_of
from scheduling.domain import decide, fold
from scheduling.forms import ChangeForm, CreateForm
from scheduling.values import Change, Identity, Plan, Reported, Request, Visit, Wish
from zb_chassis.repository import EventMapper, Recorded
from zb_contracts.events import EVENT_TYPES, Body, office, read_body, type_of
from zb_contracts.events.registry import AuthorKind
from zb_contracts.problems import Problem

NINE = 1_773_651_600_000
IDENTITY = Identity(
    intervention="00000000-0000-5000-8000-000000000001", agency="main", reference="W-1", kind="repair", site="site-1"
)
VISIT = "00000000-0000-7000-8000-000000000002"
times = st.integers(0, 4_000_000_000_000)
names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=50)
codes = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
windows = st.fixed_dictionaries({"window_start_ms": st.none() | times, "window_end_ms": st.none() | times})
details = {
    "priority": st.sampled_from([None, "low", "emergency"]),
    "contract": st.none() | codes,
    "instructions": st.none() | names,
    "required_skills": st.lists(codes, max_size=3),
}
reports = st.builds(
    Reported,
    status=st.sampled_from([None, "planned", "in_progress", "done"]),
    visits=st.lists(st.builds(Visit, id=st.just(VISIT), technician=st.none(), open=st.booleans()), max_size=1).map(tuple),
    requests=st.lists(
        st.builds(
            Request, id=st.just(VISIT), field=st.sampled_from(["planned_start", "title", "bill_of_materials"]), value=names
        ),
        max_size=1,
    ).map(tuple),
)


def commands() -> st.SearchStrategy[Any]:
    edit = {"version": st.just(1), "at_ms": st.just(NINE)}
    change = st.fixed_dictionaries({"version": st.just(1), "title": st.none() | names, **details})
    return st.one_of(
        st.builds(c.PlanIntervention, **edit, start_ms=times, duration_min=st.integers(-1, 30_000), promise=st.just("start")),
        st.builds(c.AssignTechnician, **edit, technician=st.sampled_from([None, "anna"]), skills=st.just(frozenset({"gas"}))),
        st.builds(c.MoveIntervention, **edit, start_ms=times, reason=st.none() | names),
        st.builds(c.CancelIntervention, **edit, reason=names),
        st.builds(c.ReopenIntervention, **edit, reason=names),
        change.map(lambda values: ChangeForm.model_validate(values).command(NINE)),
        st.builds(c.AbandonVisit, **edit, visit=st.just(VISIT), reason=names),
        st.builds(c.AcceptRequest, **edit, request=st.just(VISIT)),
        st.builds(c.DeclineRequest, **edit, request=st.just(VISIT), reason=names),
        st.builds(c.AskField, **edit, field=st.sampled_from(["diagnosis", "part", "title"]), value=names),
        st.builds(c.CorrectVisit, **edit, visit=st.just(VISIT), field=st.just("ended"), value=names, reason=names),
        st.builds(c.AcknowledgeSetAside, **edit, event=st.just(VISIT), field=st.just("planned_start")),
    )


@given(st.fixed_dictionaries({"title": names, **details}), windows, st.lists(st.tuples(commands(), reports), max_size=8))
def test_every_decision_has_a_body_that_the_contract_reads_and_a_stored_form_that_comes_back(
    said: dict[str, Any], window: dict[str, Any], steps: list[tuple[Any, Reported]]
) -> None:
    form = CreateForm(agency="main", reference="W-1", kind="repair", site_reference="A-1", **said)
    create = c.CreateIntervention(identity=IDENTITY, details=form.details(), wish=Wish(**window), at_ms=NINE)
    history: list[e.Event] = []
    mapper = EventMapper(e.TOPICS)
    for command, reported in [(create, Reported()), *steps]:
        state = fold(history, reported)
        if not isinstance(command, c.CreateIntervention):
            object.__setattr__(command, "version", state.version)
        try:
            decided = decide(state, command)
        except Problem:
            continue
        for event in decided:
            history.append(event)
            stored = mapper.to_stored_event(Recorded(_uuid(), len(history), event))
            assert mapper.to_domain_event(stored).event == event
            body = body_of(event)
            if body is not None:
                kind = type_of(body)
                assert AuthorKind.OFFICE in kind.writers
                assert read_body(kind.name, body.canonical_bytes()) == body


def test_a_wish_alone_is_nobodys_business() -> None:
    assert body_of(e.DetailsChanged(change=Change(), wish=Wish(duration_min=45), at_ms=NINE)) is None


def test_an_intervention_taken_from_everybody_says_none() -> None:
    body = body_of(e.TechnicianAssigned(technician=None, tour_position=None, at_ms=NINE))
    assert body == office.Assigned(assignee="none")


def test_a_move_says_its_whole_new_place() -> None:
    plan = Plan(start_ms=NINE, duration_min=60, window_start_ms=NINE, window_end_ms=NINE + 3_600_000)
    body = body_of(e.InterventionMoved(plan=plan, reason="rain", at_ms=NINE))
    assert isinstance(body, Body)
    assert body.model_dump(mode="json") == {
        "planned_start": "2026-03-16T09:00:00.000Z",
        "window_start": "2026-03-16T09:00:00.000Z",
        "window_end": "2026-03-16T10:00:00.000Z",
        "duration_min": 60,
        "reason": "rain",
    }
    assert type_of(body) is EVENT_TYPES["intervention.rescheduled.v1"]


def _uuid() -> Any:
    from uuid import UUID

    return UUID(IDENTITY.intervention)
