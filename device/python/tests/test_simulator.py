"""A light device keeps the protocol as the SDK does: it loses nothing, counts what it was told, and believes nothing unsigned."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import msgspec
import pytest
import pytest_asyncio

from tests.fixtures.little_platform import CODE, Platform, Wire
from zb_contracts.catalogues import packed
from zb_contracts.envelope import parse_event
from zb_contracts.events import AuthorKind
from zb_contracts.events.office import InterventionCreated
from zb_contracts.keys import SigningKey
from zb_contracts.merge.causality import MergeEvent, merge_event
from zb_contracts.problems import Problem
from zb_contracts.segment import decode_segment
from zb_contracts.signed import sign_document
from zb_contracts.sync import ANSWER_TYPE, Catalogue, answer_payload
from zb_device.enrolment import Places
from zb_device.faults import Unreachable
from zb_device.simulator.chain import Chain, Pen
from zb_device.simulator.light import LightDevice
from zb_device.simulator.members import LightMember
from zb_device.simulator.tally import Tally
from zb_device.simulator.workday import PHOTO_BYTES, Photo, facts, wall_error_ms, workday

BOILER = "intervention:leaky-boiler"
OFFICE = "office-main"


@dataclass
class Hinting:
    """The wire to the little platform, which hints as soon as it has admitted something."""

    wire: Wire
    device: LightDevice

    async def publish(self, data: bytes, message_id: str) -> None:
        await self.wire.publish(data, message_id)
        self.device.hinted.set()

    async def ask(self, request: bytes) -> bytes:
        return await self.wire.ask(request)

    async def close(self) -> None:
        await self.wire.close()


@pytest_asyncio.fixture
async def member(platform: Platform) -> AsyncIterator[LightMember]:
    """A light device, enrolled on the little platform, which has planned the leaky boiler for it."""
    platform.put_document(BOILER, [planned()])
    wire = Wire(platform)
    async with httpx.AsyncClient() as client:
        member = await LightMember.enrol(Places(platform.url, "", platform.url), CODE, client, Tally())
        member.connect = lambda device: Hinting(wire, device)
        yield member


def planned() -> MergeEvent:
    chain, body = Chain(), InterventionCreated(reference="B-1", kind="repair", title="Leaky boiler", site="s-1", agency="main")
    chain.write(Pen(OFFICE, SigningKey.generate(), "camille", "token-1", "boot-1"), body, BOILER, None)
    return merge_event(parse_event(chain.kept[0]), AuthorKind.OFFICE)


async def worked(member: LightMember) -> int:
    """The morning's contact and a visit; how many events it recorded."""
    await member.contact()
    await member.live(workday(1, 0, 1, 1).visits[0])
    return member.tally.recorded


def test_a_day_is_a_story_by_its_seed_and_the_first_one_has_a_network() -> None:
    days = [workday(7, device, day, 3) for device in range(300) for day in (1, 2, 3)]
    assert days == [workday(7, device, day, 3) for device in range(300) for day in (1, 2, 3)]
    assert days != [workday(8, device, day, 3) for device in range(300) for day in (1, 2, 3)]
    assert not any(workday(7, device, 1, 3).in_dead_zone for device in range(300))
    assert any(one.in_dead_zone for one in days)
    assert any(visit.crashes for one in days for visit in one.visits)
    assert any(wall_error_ms(7, device) for device in range(300))


def test_a_photo_is_the_same_bytes_whenever_it_is_made() -> None:
    photos = [fact for fact in facts(workday(1, 0, 1, 1).visits[0]) if isinstance(fact, Photo)]
    assert photos
    for photo in photos:
        assert photo.bytes() == photo.bytes()
        assert photo.file().length_bytes == len(photo.bytes()) <= 2 * PHOTO_BYTES


async def test_a_visit_goes_up_once_and_is_receipted_with_what_the_scope_taught(platform: Platform, member: LightMember) -> None:
    recorded = await worked(member)
    await member.contact(photos=True)
    assert member.is_settled
    assert (member.tally.admitted, member.tally.refused, member.tally.foreign) == (recorded, {}, 0)
    assert [row.event.header.seq for row in platform.rows] == list(range(1, recorded + 1))
    on_it = [row.event.header for row in platform.rows if row.event.header.stream == BOILER]
    assert {header.seen[OFFICE] for header in on_it} == {1}
    assert {header.visit for header in on_it} == {on_it[0].id}
    assert len(platform.files) == member.tally.photos > 0
    assert (member.head.seq, member.head.header_sha256) == (recorded, platform.rows[-1].event.header_hash.hex())


async def test_a_crash_behind_the_publish_sends_the_same_segments_again(platform: Platform, member: LightMember) -> None:
    recorded = await worked(member)
    await member.contact(crashes=True)
    names = [name for name, _ in platform.published]
    assert names == [names[0], names[0]]
    assert (len(platform.rows), member.tally.admitted, member.tally.mishaps["crash"]) == (recorded, recorded, 1)


async def test_what_the_broker_lost_is_sent_again_under_the_gaps_nonce(platform: Platform, member: LightMember) -> None:
    recorded = await worked(member)
    platform.drop_segments = 1
    await member.contact()
    assert [name.count(":") for name, _ in platform.published] == [2, 3]
    assert (len(platform.rows), member.tally.admitted) == (recorded, recorded)


async def test_a_refusal_is_counted_by_its_code_and_the_next_events_go_on(platform: Platform, member: LightMember) -> None:
    recorded = await worked(member)
    platform.refuse = {3: "event.type_not_allowed"}
    await member.contact()
    assert member.tally.refused == {"event.type_not_allowed": 1}
    assert member.tally.admitted == recorded - 1


async def test_an_answer_that_no_ledger_key_signed_settles_nothing(platform: Platform, member: LightMember) -> None:
    await worked(member)
    stranger = SigningKey.generate()
    platform.seal_with = lambda answer: sign_document(ANSWER_TYPE, answer_payload(answer), stranger)
    with pytest.raises(Problem, match="not signed"):
        await member.contact()
    assert (member.device.mark, member.tally.admitted) == (0, 0)
    platform.seal_with = None
    await member.contact()
    assert member.device.is_settled


async def test_without_a_network_the_visit_waits(platform: Platform, member: LightMember) -> None:
    recorded = await worked(member)
    platform.connected = False
    with pytest.raises(Unreachable):
        await member.contact()
    await member.live(workday(1, 0, 2, 1).visits[0])
    platform.connected = True
    await member.contact()
    assert member.tally.admitted == member.tally.recorded > recorded
    sent = [event for _, data in platform.published for event in decode_segment(data)]
    assert len(sent) == member.tally.recorded


async def test_a_session_that_ends_soon_is_renewed_before_the_contact(platform: Platform, member: LightMember) -> None:
    first = member.device.session
    await member.contact()
    assert member.device.session == first
    member.device.session = msgspec.structs.replace(first, expires_ms=0)
    recorded = await worked(member)
    await member.contact()
    assert member.device.session.token_id != first.token_id
    assert {row.event.header.token for row in platform.rows} == {member.device.session.token_id}
    assert member.tally.admitted == recorded


async def test_it_tells_of_itself_where_that_changed_and_until_it_was_answered(platform: Platform, member: LightMember) -> None:
    recorded = await worked(member)
    assert member.device.battery_percent is not None
    platform.lose_answers = 1
    with pytest.raises(Unreachable):
        await member.contact()
    await member.contact()
    lost, told = (one.about for one in platform.requests[1:3])
    assert lost is not None
    assert told is not None
    assert (lost.number, told.number) == (2, 3)
    assert (told.model, told.waiting_events, told.waiting_files) == ("simulated", recorded, len(member.photos))
    assert told.battery_percent == member.device.battery_percent // 10 * 10
    assert told.oldest_waiting_ms is not None
    await member.contact(photos=True)
    at_rest = platform.requests[-1].about
    assert at_rest is not None
    assert (at_rest.waiting_events, at_rest.oldest_waiting_ms) == (0, None)
    await member.contact()
    assert platform.requests[-1].about is not None  # the photos went after the last question
    assert platform.requests[-1].about.waiting_files == 0
    await member.contact()
    assert platform.requests[-1].about is None


async def test_it_fetches_each_catalogue_of_its_scope_once(platform: Platform, member: LightMember) -> None:
    platform.put_catalogue(packed("checklist", "boiler", 1, b'{"checks":["gas-tight"]}'))
    await member.contact()
    await member.contact()
    assert member.tally.catalogues == 1
    assert [len(request.catalogues) for request in platform.requests] == [0, 1, 0]
    platform.put_catalogue(packed("checklist", "boiler", 2, b'{"checks":["gas-tight","flue"]}'))
    await member.contact()
    assert member.tally.catalogues == 2


async def test_a_catalogue_whose_bytes_are_others_is_not_taken(platform: Platform, member: LightMember) -> None:
    right, other = (packed("checklist", "boiler", 1, content) for content in (b'{"checks":[]}', b'{"checks":["none"]}'))
    platform.put_catalogue(right)
    platform.catalogues[right.reference.sha256] = Catalogue(sha256=right.reference.sha256, packed=other.packed)
    with pytest.raises(Problem, match="another hash"):
        await member.contact()
    assert member.tally.catalogues == 0
