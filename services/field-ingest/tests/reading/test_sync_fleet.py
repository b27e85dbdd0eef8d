"""What a sync does for the fleet: an order to wipe goes with each answer until it is attested; what a device tells is kept."""

from typing import Any

import pytest

from field_ingest.devices import wipes
from zb_chassis.database import transaction
from zb_contracts import subjects
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.events.office import Assigned, InterventionCreated
from zb_contracts.events.testimony import DeviceWiped, LogLeft
from zb_contracts.sync import About, SyncAnswer, SyncRequest, pack, read_answer, unpack_document

BOILER = "intervention:11111111-1111-4111-8111-111111111111"
NONCE = "0123456789abcdef0123456789abcdef"


async def ask(company: Any, author: str, **what: Any) -> SyncAnswer:
    """The answer to device-a; its signature is test_sync's matter."""
    request = SyncRequest(**({"nonce": NONCE, "author": author, "mark": 0, "head": 0} | what))
    data = await company.responder().answer(subjects.sync("device-a", "camille"), pack(request))
    assert data is not None
    return read_answer(unpack_document(data).payload)


async def order(company: Any, name: str, *, at_once: bool) -> None:
    placed = wipes.Order(name, "device-a", "U-device-a", at_once, "left", "noor", company.now_ms)
    async with transaction(company.pool) as connection:
        await wipes.place(connection, placed)


@pytest.fixture
async def hardware(company: Any, camille: Any) -> Any:
    """camille's device with a login key, one event and something to read."""
    await company.pool.execute("UPDATE authors SET login_key = 'U-' || device WHERE author = $1", camille.name)
    office = await company.hire("office-main", "office")
    created = InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    await company.record(office, BOILER, created)
    await company.record(office, BOILER, Assigned(assignee="camille"))
    await company.record(camille, BOILER, CommentAdded(text="it leaks"))
    await company.project()
    return camille


async def test_an_order_goes_with_every_answer_until_the_hardware_attests(company: Any, hardware: Any) -> None:
    assert (await ask(company, hardware.name)).scope is not None
    await order(company, "order-1", at_once=False)
    for _ in range(2):
        answer = await ask(company, hardware.name, head=1)
        [command] = answer.commands
        assert (command.kind, command.order, command.at_once, command.argument) == ("wipe", "order-1", False, None)
        assert answer.scope is None
    left = LogLeft(author=hardware.name, head=1, unsent=0, unreceipted=0)
    word = DeviceWiped(device="device-a", order="order-1", at_once=False, logs=(left,), read_models=1, files_left=0, bytes_left=0)
    await company.record(hardware, "device:device-a", word)
    answer = await ask(company, hardware.name, head=2)
    assert (answer.commands, answer.mark) == ((), 2)


async def test_a_lost_device_is_told_to_wipe_at_once_and_why(company: Any, hardware: Any) -> None:
    await company.pool.execute("UPDATE authors SET revoked_at_ms = 1, revoked_cause = 'stolen' WHERE author = $1", hardware.name)
    await order(company, "order-2", at_once=True)
    [command] = (await ask(company, hardware.name, head=1)).commands
    assert (command.kind, command.order, command.at_once, command.argument) == ("wipe", "order-2", True, "stolen")


async def test_what_a_device_tells_is_there_before_its_answer(company: Any, hardware: Any) -> None:
    await ask(company, hardware.name, about=About(number=3, at_ms=company.now_ms - 5_000, app="2.1", waiting_events=4))
    await ask(company, hardware.name, about=About(number=2, at_ms=company.now_ms, app="1.9"))
    row = await company.pool.fetchrow("SELECT number, app, clock_offset_ms, waiting_events FROM device_about")
    assert tuple(row) == (3, "2.1", -5_000, 4)
