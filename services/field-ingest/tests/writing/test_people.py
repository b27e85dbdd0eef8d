"""Who ever had a session on a device is remembered for good; the tokens themselves are forgotten in time."""

from typing import Any

import pytest

from field_ingest.admission.admitting import Done
from field_ingest.devices.tokens import KEPT_MS, PRUNED_MAX, Tokens
from field_ingest.ledger.postgres import PostgresTransaction
from zb_chassis.claims import Kind, Nkey

LOGIN = Nkey.generate(Kind.USER)


class Keys:
    """What a token is minted with."""

    device_signer = Nkey.generate(Kind.ACCOUNT)
    device_account = Nkey.generate(Kind.ACCOUNT).public

    def __init__(self, ledger: Any) -> None:
        self.ledger = ledger


@pytest.fixture
def tokens(house: Any) -> Tokens:
    return Tokens(Keys(house.ledger_keys), house.clock)  # type: ignore[arg-type]


async def mint(house: Any, tokens: Tokens, pen: Any, technician: str | None) -> None:
    async with house.pool.acquire() as connection, connection.transaction():
        await tokens.mint(connection, pen.author, pen.device, LOGIN.public, technician)


async def test_tokens_are_forgotten_long_after_their_end_and_people_never(house: Any, leaky: Any, tokens: Tokens) -> None:
    await mint(house, tokens, leaky, "dominique")
    expires_at_ms = await house.pool.fetchval("SELECT max(expires_at_ms) FROM tokens")
    house.now_ms = expires_at_ms + KEPT_MS
    await mint(house, tokens, leaky, None)
    assert await house.pool.fetchval("SELECT count(*) FROM tokens") == 2
    house.now_ms += 1
    await mint(house, tokens, leaky, None)
    assert await house.pool.fetchval("SELECT count(*) FROM tokens WHERE technician = 'dominique'") == 0
    assert await house.deliver(leaky, [leaky.write(actor="dominique"), leaky.write(actor="mallory")]) == Done(admitted=1, held=1)


async def test_people_of_an_earlier_incarnation_are_people_of_the_device(house: Any, leaky: Any, tokens: Tokens) -> None:
    await mint(house, tokens, leaky, "dominique")
    async with house.pool.acquire() as connection:
        await connection.execute(
            """
            INSERT INTO authors (author, kind, agency, device, incarnation, event_key, shard, head_hash, registered_at_ms)
            VALUES ('leaky-i2', 'device', 'main', 'leaky', 2, $1, 0, $1, 0)
            """,
            bytes(32),
        )
        transaction = PostgresTransaction(connection)
        known = await transaction.known(await transaction.lock_authors(["leaky-i2"]), [])
    assert known["leaky-i2"].people == {"dominique"}


async def test_a_mint_forgets_more_tokens_than_it_makes_and_never_all_at_once(house: Any, leaky: Any, tokens: Tokens) -> None:
    old = [(f"t-{number}", leaky.author, "camille", 0, number) for number in range(PRUNED_MAX + 5)]
    await house.pool.copy_records_to_table("tokens", records=old)
    await mint(house, tokens, leaky, "camille")
    assert await house.pool.fetchval("SELECT count(*) FROM tokens") == 6


async def test_an_event_names_its_session_and_the_fact_says_so(house: Any, leaky: Any, tokens: Tokens) -> None:
    await mint(house, tokens, leaky, "camille")
    token = await house.pool.fetchval("SELECT token_id FROM tokens")
    await house.deliver(leaky, [leaky.write(token=token), leaky.write(token="0a1b2c")])
    assert [b'"token":"current"' in row["facts"] for row in await house.rows(leaky)] == [True, False]
