"""Folds of long streams that are put away: taken up where they stand, and made again wherever they cannot be trusted."""

from typing import Any

import pytest

from field_ingest.projection import folding, states
from field_ingest.projection.replay import replay
from zb_contracts import canonical
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.events.office import EventAdmitted
from zb_contracts.events.places import StockMoved

BOILER = "intervention:11111111-1111-4111-8111-111111111111"
VAN = "stock:van-camille"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are long from ten events on."""
    monkeypatch.setattr(folding, "REST_FROM", 10)


async def a_long_morning(company: Any, camille: Any) -> None:
    for number in range(12):
        await company.record(camille, BOILER, CommentAdded(text=f"remark {number}"))
        await company.record(camille, VAN, StockMoved(part="p-1", quantity="-1", cause="used"))
    await company.project()
    assert await company.pool.fetchval("SELECT count(*) FROM fold_rest") == 2


async def one_more(company: Any, camille: Any, stream: str) -> dict[str, Any]:
    """What a worker that remembers nothing makes of one more event."""
    body = CommentAdded(text="at last") if stream == BOILER else StockMoved(part="p-1", quantity="-1", cause="used")
    await company.record(camille, stream, body)
    await company.project(company.new_projector())
    found: dict[str, Any] = canonical.decode(await company.pool.fetchval("SELECT state FROM states WHERE stream = $1", stream))
    return found


@pytest.mark.parametrize("stream", [BOILER, VAN])
async def test_a_fold_that_was_put_away_goes_on_without_reading_the_events_before(
    company: Any, camille: Any, stream: str
) -> None:
    await a_long_morning(company, camille)
    await company.pool.execute("UPDATE ledger SET header = 'rotten' WHERE stream = $1 AND position < 20", stream)
    state = await one_more(company, camille, stream)
    assert (state["events"], len(state.get("lines") or state["movements"])) == (13, 13)
    async with company.pool.acquire() as connection:
        assert await states.quarantined(connection) == {}


@pytest.mark.parametrize(
    "damage", ["data = 'torn'", "data = data || 'x'", "data = (SELECT data FROM fold_rest WHERE stream <> r.stream)"]
)
async def test_one_that_cannot_be_taken_up_is_made_again_from_the_ledger(
    company: Any, camille: Any, database: str, damage: str
) -> None:
    await a_long_morning(company, camille)
    await company.pool.execute(f"UPDATE fold_rest r SET {damage}")
    assert (await one_more(company, camille, VAN))["quantities"] == {"p-1": "-13"}
    assert (await replay(database, lambda store: company.new_projector(store=store, announces=False))).same


async def test_a_held_event_that_is_let_in_is_not_missing_in_a_fold_put_away_after_it(
    company: Any, camille: Any, office: Any, database: str
) -> None:
    dominique = await company.hire("device-b-1", device="device-b", technician="dominique")
    await company.pool.execute("UPDATE authors SET revoked_at_ms = 1, revoked_cause = 'lost' WHERE author = $1", dominique.name)
    held = await company.record(dominique, BOILER, CommentAdded(text="held"))
    await a_long_morning(company, camille)
    lifts = EventAdmitted(event=held, author=dominique.name, author_seq=1, supervisor="alix", reason="found again")
    await company.record(office, BOILER, lifts)
    await company.project(company.new_projector())
    state = await one_more(company, camille, BOILER)
    assert "held" in {line["value"]["text"] for line in state["lines"]}
    assert (await replay(database, lambda store: company.new_projector(store=store, announces=False))).same
