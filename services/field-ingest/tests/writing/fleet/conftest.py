"""The fleet's HTTP over a real ledger, and people who call it: who acts for all, for the north, for the south, for nobody."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from field_ingest.api import ledger_router
from field_ingest.devices.acts import Fleet
from field_ingest.devices.agencies import AgencyTree
from field_ingest.devices.codes import Codes
from field_ingest.devices.fleet_api import Desk, fleet_router
from field_ingest.devices.holds import Holds
from zb_chassis.http import application
from zb_chassis.identity import Principal, Role

PEOPLE = {
    "ada": (Role.FLEET_ADMINISTRATOR, "*"),
    "noor": (Role.FLEET_ADMINISTRATOR, "north"),
    "sam": (Role.FLEET_ADMINISTRATOR, "south"),
    "alix": (Role.AUDITOR, "*"),
    "timo": (Role.TECHNICIAN, "*"),
}


class _People:
    """Verifies no token: who calls is what is tried here, not how they prove it."""

    async def verify(self, token: str) -> Principal:
        role, agency = PEOPLE[token]
        return Principal(token, frozenset({role}), frozenset({agency}))


@dataclass
class Office:
    """People who call, one client each."""

    client: httpx.AsyncClient
    house: Any

    async def ask(self, who: str, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return await self.client.request(
            method, f"/v1/{path}", json=body, params=query or None, headers={"Authorization": f"Bearer {who}"}
        )  # fmt: skip

    async def file(self, who: str, path: str, data: bytes, content_type: str = "text/csv", **query: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {who}", "Content-Type": content_type}
        return await self.client.post(f"/v1/{path}", content=data, params=query or None, headers=headers)

    async def done(self, who: str, method: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = await self.ask(who, method, path, body, **query)
        assert answer.is_success, answer.text
        return answer.json()

    async def refused(self, who: str, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str]:
        answer = await self.ask(who, method, path, body, **query)
        return answer.status_code, answer.json()["code"]

    async def standing(self, device: str) -> str:
        return str((await self.done("alix", "GET", f"devices/{device}"))["standing"])

    async def names(self, who: str, **query: Any) -> list[str]:
        return [one["device"] for one in (await self.done(who, "GET", "devices", **query))["devices"]]

    async def hire(self, device: str, agency: str) -> Any:
        """A device of the agency with a login key."""
        pen = await self.house.hire(device)
        await self.house.pool.execute(
            "UPDATE authors SET agency = $2, login_key = $3 WHERE device = $1", device, agency, f"U-{device}"
        )  # fmt: skip
        return pen


@pytest.fixture
async def office(house: Any) -> AsyncIterator[Office]:
    """The agencies north (with north-lille below it) and south."""

    async def ready() -> None:
        return None

    tree = AgencyTree(house.pool)
    desk = Desk(
        pool=house.pool,
        tree=tree,
        codes=Codes(house.pool, house.clock),
        fleet=Fleet(house.pool, house.signer, clock=house.clock, real_clock=house.clock),
        holds=Holds(house.pool, house.signer),
        clock=house.clock,
        real_clock=house.clock,
    )
    routers = [fleet_router(desk), ledger_router(house.pool, house.checkpoints, tree)]
    app = application("field-ingest", routers, ready=ready)
    app.state.verifier = _People()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as client:
        office = Office(client, house)
        for agency, parent in (("north", None), ("south", None), ("north-lille", "north")):
            await office.done("ada", "PUT", f"agencies/{agency}", {"parent": parent, "name": agency.title()})
        yield office
