"""A message that no try can handle: buried with its reason, seen by whoever looks, tried again when the cause is gone."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import TimeoutError as NothingCame

from field_ingest.admission import dead_letters, intake
from field_ingest.admission.admitting import TRIES_MAX, Done, Failed, GivenUp
from field_ingest.admission.dead_letters import Letter, NoSuchLetter, Wanted
from field_ingest.admission.intake import Intake
from field_ingest.admission.routing import prepare_consumers, prepare_streams, readings
from tests.fixtures.broker import Broker
from zb_chassis.consuming import DeadLetters
from zb_contracts import subjects

FETCH_S = 0.5
DEADLINE_S = 60.0
POISON = """
CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.author = 'leaky-i1' THEN RAISE EXCEPTION 'the boiler leaks into the ledger'; END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER poison BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION poison();
"""


class Graveyard:
    """field-ingest's intake on a real broker, and its dead letters."""

    def __init__(self, house: Any, broker: Broker, ingest: Client) -> None:
        self.house, self.broker, self.ingest = house, broker, ingest
        self.jetstream = ingest.jetstream()
        self.readings = readings(range(1), batch_max=16, ack_wait_s=10)

    async def open(self) -> "Graveyard":
        await prepare_streams(self.jetstream, 1)
        await prepare_consumers(self.jetstream, self.readings)
        return self

    async def send(self, pen: Any, events: Any) -> None:
        client = await self.broker.connect(self.broker.device(pen.device, "camille"))
        await client.request(pen.subject, pen.message(events).data, timeout=10)
        await client.close()

    async def work(self) -> None:
        """Take messages until each is settled."""
        taking = Intake(self.house.admission, DeadLetters(self.jetstream, "field-ingest"), self.readings)
        subscription = await self.jetstream.pull_subscribe_bind("field-ingest-0", "FIELD")
        async with asyncio.timeout(DEADLINE_S):
            while not await self._is_settled():
                with suppress(NothingCame):
                    await taking.take(await subscription.fetch(16, timeout=FETCH_S))
        await subscription.unsubscribe()

    async def _is_settled(self) -> bool:
        # The consumer's own count of what is pending may be a moment behind the stream.
        last = (await self.jetstream.stream_info("FIELD")).state.last_seq
        reading = await self.jetstream.consumer_info("FIELD", "field-ingest-0")
        return reading.delivered.stream_seq >= last and reading.num_ack_pending == 0

    async def letters(self, became: Mapping[int, str] | None = None, limit: int | None = None, **wanted: Any) -> list[Letter]:
        found = dead_letters.letters(self.jetstream, Wanted(**wanted), became, limit=limit)
        return [one async for one in found]

    async def bury(self, service: str, code: str = "system.internal") -> None:
        headers = {"Zb-Dead-Code": code, "Zb-Dead-Stream": "FIELD", "Zb-Dead-Subject": "field.v1.0.leaky", "Zb-Dead-Tries": "8"}
        client = await self.broker.connect(service)
        await client.jetstream().publish(subjects.deadletter(service), b"no segment", headers=headers)
        await client.close()


@pytest.fixture
async def graveyard(house: Any, broker: Broker, ingest: Client, monkeypatch: pytest.MonkeyPatch) -> Graveyard:
    monkeypatch.setattr(intake, "PAUSES_S", (0.01,))
    return await Graveyard(house, broker, ingest).open()


async def test_a_poison_message_is_buried_after_its_tries_and_another_authors_is_admitted_meanwhile(
    graveyard: Graveyard, house: Any, leaky: Any
) -> None:
    other = await house.hire("other")
    await house.pool.execute(POISON)
    await graveyard.send(leaky, leaky.writes(2))
    await graveyard.send(other, other.writes(2))
    await graveyard.work()
    assert (await house.row(other))["mark"] == 2
    [found] = await graveyard.letters()
    told = found.summary(now_ms=0)
    assert (told["service"], told["code"], told["tries"]) == ("field-ingest", "system.internal", TRIES_MAX)
    assert "the boiler leaks into the ledger" in told["reason"]

    assert isinstance(await dead_letters.retry(house.pool, house.admission, found, house.clock), Failed)
    assert await dead_letters.dealt_with(house.pool) == {found.number: "Failed"}
    await house.pool.execute("DROP TRIGGER poison ON ledger")
    assert await dead_letters.retry(house.pool, house.admission, found, house.clock) == Done(admitted=2)
    assert await dead_letters.retry(house.pool, house.admission, found, house.clock) == Done(duplicates=2)
    became = await dead_letters.dealt_with(house.pool)
    assert await graveyard.letters(became, only_open=True) == []
    await house.check_invariants()


async def test_a_letter_that_must_wait_is_asked_for_from_its_author(graveyard: Graveyard, house: Any, leaky: Any) -> None:
    await house.pool.execute(POISON)
    events = leaky.writes(4)
    await graveyard.send(leaky, events[:2])
    await graveyard.work()
    [found] = await graveyard.letters()
    ahead = Letter(found.number, found.service, found.at_ms, found.headers, leaky.message(events[2:]).data)
    assert isinstance(await dead_letters.retry(house.pool, house.admission, ahead, house.clock), GivenUp)
    row = await house.row(leaky)
    assert (row["gap_nonce"] is not None, row["gap_to"]) == (True, 4)


async def test_the_list_is_cut_by_service_code_number_and_length(graveyard: Graveyard) -> None:
    for service, code in (("media", "a.one"), ("field-ingest", "a.one"), ("media", "a.two"), ("media", "a.one")):
        await graveyard.bury(service, code)
    first, second, third, fourth = [one.number for one in await graveyard.letters()]
    assert [one.number for one in await graveyard.letters(service="media")] == [first, third, fourth]
    assert [one.number for one in await graveyard.letters(service="media", code="a.one")] == [first, fourth]
    assert [one.number for one in await graveyard.letters(after=first, limit=2)] == [second, third]
    assert [one.number for one in await graveyard.letters({second: "Done", third: "GivenUp"}, only_open=True)] == [
        first,
        third,
        fourth,
    ]


async def test_anothers_letter_is_settled_with_a_reason_and_never_tried_here(graveyard: Graveyard, house: Any) -> None:
    await graveyard.bury("media")
    [found] = await graveyard.letters()
    with pytest.raises(NoSuchLetter, match="media's"):
        await dead_letters.retry(house.pool, house.admission, found, house.clock)
    await dead_letters.settle(house.pool, found, "uploaded again by hand", house.clock())
    became = await dead_letters.dealt_with(house.pool)
    assert became == {found.number: dead_letters.SETTLED}
    assert await graveyard.letters(became, only_open=True) == []


async def test_a_body_that_was_too_large_to_keep_is_named_where_it_is(graveyard: Graveyard, house: Any) -> None:
    headers = {"Zb-Dead-Stream": "FIELD", "Zb-Dead-Body-Bytes": "1000000"}
    with pytest.raises(NoSuchLetter, match="too large to keep: it is in FIELD"):
        await dead_letters.retry(house.pool, house.admission, Letter(1, "field-ingest", 0, headers, b""), house.clock)
