"""What is billed, as sentences: closed, proven, priced; an invoice once, then differences."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_bridge.domain import Bill, Billed, Decision, Reference, Settled, Waits, decide
from billing_bridge.facts import facts_of
from billing_bridge.profiles import PROFILES
from billing_bridge.rating import BilledLine, difference, half_up_cents, lines_sha256, quarter_hours_begun, vat_cents
from zb_contracts.announcements import ContractsPublished

RULES = PROFILES["erp"].rules


def decided(
    story: Any, state: Any, *, billed: Billed | None = None, lists: Any = None, contracts: Any = (), stored: Any = ()
) -> Decision:
    published = ContractsPublished(agency="main", version=1, contracts=tuple(contracts))
    reference = Reference({"PL-2026": [story.prices()] if lists is None else lists}, {"main": published})
    return decide(facts_of(state), stored, billed, reference, RULES)


def billed(story: Any, state: Any, **values: Any) -> Bill:
    decision = decided(story, state, **values)
    assert isinstance(decision, Bill), decision
    return decision


def amounts(lines: Any) -> list[tuple[str, str, str, int]]:
    return [(line.kind, line.code, line.quantity, line.net_cents) for line in lines]


def reason(decision: Decision) -> str:
    assert isinstance(decision, Waits), decision
    return decision.reason


def test_a_done_intervention_bills_parts_labour_and_the_call_out(story: Any) -> None:
    bill = billed(story, story.state(1, story.part("SEAL-12", "2"), story.part("PIPE", "1.5")))
    assert bill.kind == "invoice"
    assert amounts(bill.lines) == [
        ("part", "PIPE", "1.5", 500),
        ("part", "SEAL-12", "2", 2_468),
        ("labour", "MO", "1", 6_000),
        ("call_out", "DEPL", "1", 4_500),
    ]


@pytest.mark.parametrize("status", ["draft", "planned", "assigned", "in_progress", "cancelled"])
def test_an_open_intervention_is_not_billed(story: Any, status: str) -> None:
    assert status in reason(decided(story, story.state(status=status)))


def test_work_not_done_is_billed_only_where_the_profile_says_so(story: Any) -> None:
    assert decided(story, story.state(status="not_done")) == Settled()


def test_a_part_withdrawn_is_not_billed(story: Any) -> None:
    bill = billed(story, story.state(1, story.part("SEAL-12", "1", void=True)))
    assert [line.kind for line in bill.lines] == ["labour", "call_out"]


def test_parts_of_one_code_are_one_line(story: Any) -> None:
    bill = billed(story, story.state(1, story.part("PIPE", "0.1"), story.part("PIPE", "0.2")))
    assert amounts(bill.lines)[0] == ("part", "PIPE", "0.3", 100)


def test_a_photo_that_is_not_stored_makes_the_bill_wait(story: Any) -> None:
    state = story.state(1, story.photo(), story.photo(void=True))
    assert "1 of 1" in reason(decided(story, state))
    assert billed(story, state, stored=facts_of(state).proofs).kind == "invoice"


def test_evidence_for_another_line_does_not_count(story: Any) -> None:
    elsewhere = facts_of(story.state(2, story.photo())).proofs
    assert "not stored" in reason(decided(story, story.state(1, story.photo()), stored=elsewhere))


def test_a_part_without_a_price_waits_and_is_named(story: Any) -> None:
    assert "no price for the part GOLD" in reason(decided(story, story.state(1, story.part("GOLD", "1"))))


def test_an_unknown_price_list_or_contract_waits_and_is_named(story: Any) -> None:
    assert "PL-1999" in reason(decided(story, story.state(price_list="PL-1999")))
    assert "C-9" in reason(decided(story, story.state(contract="C-9")))


def test_the_newest_price_list_valid_at_the_end_of_the_work_counts(story: Any) -> None:
    lists = [
        story.prices(1),
        story.prices(2, valid_from="2026-03-01T00:00:00.000Z", labour=7_000),
        story.prices(3, valid_from="2026-04-01T00:00:00.000Z", labour=9_000),
    ]
    assert amounts(billed(story, story.state(), lists=lists).lines)[0] == ("labour", "MO", "1", 7_000)
    future = [story.prices(valid_from="2027-01-01T00:00:00.000Z")]
    assert "valid when the work ended" in reason(decided(story, story.state(), lists=future))


def test_a_price_list_in_another_currency_is_not_mixed_in(story: Any) -> None:
    assert "CHF" in reason(decided(story, story.state(), lists=[story.prices(currency="CHF")]))


def test_two_prices_of_an_hour_are_no_price_of_an_hour(story: Any) -> None:
    hour = story.prices().prices[2].model_copy(update={"code": "NIGHT"})
    assert "2 prices of an hour" in reason(decided(story, story.state(), lists=[story.prices(prices=(hour,))]))


def test_a_contract_covers_parts_up_to_their_quantity(story: Any) -> None:
    contract = story.contract(covered_parts=(story.covered("SEAL-12", "2"),))
    bill = billed(story, story.state(1, story.part("SEAL-12", "3"), contract="C-1"), contracts=[contract])
    assert [(line.covered, line.quantity, line.net_cents) for line in bill.lines[:2]] == [(True, "2", 0), (False, "1", 1_234)]
    assert bill.account == "411SYN"


def test_a_contract_that_covers_labour_shows_it_at_nothing(story: Any) -> None:
    bill = billed(story, story.state(contract="C-1"), contracts=[story.contract(labour_covered=True)])
    assert amounts(bill.lines) == [("labour", "MO", "1", 0), ("call_out", "DEPL", "1", 4_500)]


@pytest.mark.parametrize(
    ("minutes", "pauses", "hours"),
    [
        (0, (), None),
        (1, (), "0.25"),
        (15, (), "0.25"),
        (16, (), "0.5"),
        (60, (), "1"),
        (60, ((10, 25),), "0.75"),
        (60, ((10, 25), (30, 45)), "0.5"),
        (60, ((30, None),), "0.5"),
        (60, ((0, None),), None),
    ],
)
def test_labour_is_what_was_worked_without_pauses_in_quarter_hours_begun(
    story: Any, minutes: int, pauses: Any, hours: str | None
) -> None:
    bill = billed(story, story.state(visits=[story.visit(minutes, pauses)]))
    assert [line.quantity for line in bill.lines if line.kind == "labour"] == ([] if hours is None else [hours])


def test_two_visits_are_one_labour_line_and_one_call_out(story: Any) -> None:
    bill = billed(story, story.state(visits=[story.visit(20), story.visit(20)]))
    assert amounts(bill.lines) == [("labour", "MO", "0.75", 4_500), ("call_out", "DEPL", "1", 4_500)]


def test_a_visit_that_the_office_ended_has_no_measured_time(story: Any) -> None:
    bill = billed(story, story.state(visits=[story.visit(600, side="office"), story.visit(15)]))
    assert amounts(bill.lines)[0] == ("labour", "MO", "0.25", 1_500)


def test_a_clock_that_went_back_never_makes_negative_work(story: Any) -> None:
    bill = billed(story, story.state(visits=[story.visit(-90, trusted=False)]))
    assert [line.kind for line in bill.lines] == ["call_out"]


def test_what_was_billed_is_not_billed_again(story: Any) -> None:
    bill = billed(story, story.state(1, story.part("PIPE", "1")))
    again = decided(story, story.state(1, story.part("PIPE", "1")), billed=Billed(bill.rated, bill.terms))
    assert again == Settled()


def test_a_later_change_is_billed_as_the_difference(story: Any) -> None:
    bill = billed(story, story.state(1, story.part("PIPE", "1"), story.part("SEAL-12", "1")))
    later = story.state(1, story.part("PIPE", "3"), story.part("SEAL-12", "1", void=True))
    adjustment = billed(story, later, billed=Billed(bill.rated, bill.terms))
    assert adjustment.kind == "adjustment"
    assert amounts(adjustment.lines) == [("part", "PIPE", "2", 666), ("part", "SEAL-12", "-1", -1_234)]
    assert adjustment.lines_sha256 == lines_sha256(adjustment.rated)


def test_new_prices_do_not_touch_what_was_billed(story: Any) -> None:
    bill = billed(story, story.state())
    dearer = [story.prices(), story.prices(2, valid_from="2026-02-01T00:00:00.000Z", labour=9_900)]
    assert decided(story, story.state(), billed=Billed(bill.rated, bill.terms), lists=dearer) == Settled()


def test_an_intervention_that_turns_out_not_done_is_taken_back_whole(story: Any) -> None:
    bill = billed(story, story.state())
    back = billed(story, story.state(status="not_done"), billed=Billed(bill.rated, bill.terms))
    assert sum(line.net_cents for line in back.lines) == -sum(line.net_cents for line in bill.lines)
    assert back.rated == ()


def test_an_intervention_reopened_after_billing_waits_until_it_is_closed(story: Any) -> None:
    bill = billed(story, story.state())
    assert "in_progress" in reason(decided(story, story.state(status="in_progress"), billed=Billed(bill.rated, bill.terms)))


@pytest.mark.parametrize(
    ("quantity", "price", "cents"), [("0.5", 1, 1), ("-0.5", 1, -1), ("1.005", 100, 101), ("0.333", 1000, 333), ("2", 0, 0)]
)
def test_money_is_rounded_half_up_away_from_zero(quantity: str, price: int, cents: int) -> None:
    assert half_up_cents(Decimal(quantity), price) == cents


def test_the_largest_quantity_and_price_lose_no_cent() -> None:
    assert half_up_cents(Decimal("999999999999999.999999999"), 10**12) == 999_999_999_999_999_999_999_999_000


def test_tax_is_rounded_once_a_line() -> None:
    assert (vat_cents(333, 100), vat_cents(335, 100), vat_cents(-335, 100)) == (33, 34, -34)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_quarter_hour_begun_is_never_less_than_what_was_worked_nor_a_quarter_more(worked_ms: int) -> None:
    billed_ms = quarter_hours_begun(worked_ms) * 3_600_000
    assert worked_ms <= billed_ms < worked_ms + 15 * 60_000


LINES = st.builds(
    BilledLine,
    kind=st.just("part"),
    code=st.sampled_from(["A", "B", "C"]),
    label=st.just("x"),
    covered=st.booleans(),
    quantity=st.integers(-5, 5).map(str),
    unit=st.just("pce"),
    unit_price_cents=st.integers(0, 300),
    net_cents=st.integers(-1000, 1000),
    vat_permille=st.sampled_from([100, 200]),
    vat_cents=st.integers(-100, 100),
)
SETS = st.lists(LINES, max_size=5, unique_by=lambda line: line.key)


@given(SETS, SETS)
def test_what_was_billed_and_the_difference_add_up_to_what_is_right(before: list[BilledLine], after: list[BilledLine]) -> None:
    change = difference(before, after)
    for amount in ("net_cents", "vat_cents"):
        assert sum(getattr(line, amount) for line in [*before, *change]) == sum(getattr(line, amount) for line in after)
    assert (change == []) == (sorted(before, key=lambda one: one.key) == sorted(after, key=lambda one: one.key))
