"""What a database from an old backup does not know of people and devices, and what mends it."""

from typing import Any

import asyncpg
import pytest

from zb_contracts.problems import SYNC_WRONG_TECHNICIAN
from zb_contracts.sync import read_answer


@pytest.fixture
async def forgets(office: Any) -> Any:
    """Does to a device what a restore does to whatever came after the backup."""
    connection = await asyncpg.connect(office.service.environment["ZB_INGEST_DATABASE_URL"])

    async def forget(sql: str, device: str) -> None:
        await connection.execute(sql, device)

    yield forget
    await connection.close()


async def test_who_first_signed_in_after_the_backup_signs_in_again(office: Any, device: Any, forgets: Any) -> None:
    await device.enrol(office, technician=None)
    token = (await device.token(office, "noor", person="noor")).json()["token"]
    client = await device.connect(office, token)

    async def refusal() -> str | None:
        refused: str | None = read_answer((await device.ask(client, technician="noor")).payload).refusal
        return refused

    assert await refusal() is None
    await forgets("DELETE FROM device_people WHERE device = $1", device.answer["device"])
    assert await refusal() == SYNC_WRONG_TECHNICIAN.code
    assert (await device.token(office, "noor")).status_code == 403, "her device alone proves nothing: she has to say who she is"
    assert (await device.token(office, "noor", person="noor")).status_code == 200
    assert await refusal() is None
    await client.close()
