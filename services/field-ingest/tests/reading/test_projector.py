"""The projection: same events, same states; a checkpoint that never lies; one bad stream stops nobody."""

from typing import Any

from zb_contracts import canonical
from zb_contracts.events import office

BOILER = "11111111-1111-4111-8111-111111111111"
LIFT = "22222222-2222-4222-8222-222222222222"
START_14 = "2026-11-23T14:00:00.000Z"


def created(title: str = "leaky boiler", site: str = "site-1") -> office.InterventionCreated:
    return office.InterventionCreated(reference="W-1", kind="repair", title=title, site=site, agency="main")


def planned(start: str = START_14) -> office.Planned:
    return office.Planned(planned_start=start, duration_min=60, policy=office.Policy(version=1))


async def state_of(company: Any, stream: str) -> dict[str, Any]:
    state: dict[str, Any] = canonical.decode(await company.pool.fetchval("SELECT state FROM states WHERE stream = $1", stream))
    return state


async def test_an_intervention_is_folded_announced_and_put_into_its_technicians_scope(
    company: Any, office: Any, camille: Any
) -> None:
    stream = f"intervention:{BOILER}"
    await company.record(office, stream, created())
    await company.record(office, stream, planned())
    await company.project()
    state = await state_of(company, stream)
    assert state["status"] == "planned"
    assert state["fields"]["planned_start"]["value"] == START_14
    assert await company.pool.fetchval("SELECT count(*) FROM chassis.outbox") == 1
