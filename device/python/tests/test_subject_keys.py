"""Personal values on the device: read in the dead zone, sealed before they are signed, gone once they are erased."""

import hashlib
import json

import pytest

from tests.fixtures.little_platform import PIN
from zb_contracts.envelope import BODY_TYPE, GENESIS, Header, ParsedEvent, digest, parse_event, sign_event
from zb_contracts.events import AuthorKind, read_body
from zb_contracts.events.fieldwork import Arrived, SignatureTaken, TravelStarted
from zb_contracts.events.places import Address, SiteRegistered
from zb_contracts.events.values import Position
from zb_contracts.keys import SigningKey, WrapKey
from zb_contracts.merge.causality import merge_event
from zb_contracts.sealed import open_sealed_value
from zb_device.commands import run
from zb_device.deposits import Deposits
from zb_device.faults import Refused
from zb_device.key_exchange import KeyExchange
from zb_device.reading import database_path

SITE = "site:house-on-the-hill"
BOILER = "intervention:leaky-boiler"
PHONE = "Frau Weber 0151-555-0142"
HERE = Position(latitude_e7=525_200_080, longitude_e7=134_049_540, accuracy_m=4, source="gnss")


@pytest.fixture
def custody(platform):
    platform.custody.url = platform.url
    return platform.custody


@pytest.fixture
async def house(device, platform, custody):
    """A site with a contact is in the scope, and its key at custody; the device has synced."""
    event = office_event(custody)
    platform.put_document(SITE, [event])
    custody.documents = (SITE, BOILER)
    await device.sync()
    return device


def office_event(custody):
    """The site's registration, as the office signs it."""
    event_id = "01900000-0000-7000-8000-000000000001"
    body = SiteRegistered(
        reference="A-1",
        name="House on the hill",
        agency="main",
        address=Address(town="Berlin", country="DE"),
        contact=custody.seal(SITE, event_id, "contact", PHONE),
    ).canonical_bytes()
    header = Header(
        id=event_id,
        author="office-main",
        seq=1,
        prev=GENESIS,
        type="site.registered.v1",
        stream=SITE,
        visit=None,
        actor=None,
        token=None,
        at="2026-11-18T09:00:00.000Z",
        boot=None,
        elapsed_ms=None,
        anchor=None,
        seen={},
        body_sha256=digest(body),
        body_type=BODY_TYPE,
    )
    return merge_event(parse_event(sign_event(SigningKey.generate(), header, body)), AuthorKind.OFFICE)


async def contact(device):
    shown = await run(device, "show", {"stream": SITE})
    return shown["state"]["fields"]["contact"]["value"]


def admitted(platform, type_name) -> ParsedEvent:
    (event,) = [row.event for row in platform.rows if row.event.header.type == type_name]
    return event


async def test_a_technician_reads_the_phone_number_in_the_dead_zone_and_nobody_does_after_an_erasure(house, platform, custody):
    platform.connected = False
    assert await contact(house) == PHONE
    house.lock()
    await house.unlock(PIN)
    assert await contact(house) == PHONE
    (kid,) = custody.given
    key = custody.keys[kid][0]
    platform.connected = True
    del custody.keys[kid]
    report = await house.sync()
    assert (report.keys, report.keys_fault) == (1, "")
    assert (await contact(house))["sealed"]["kid"] == kid
    assert house.opened().reading.keys.key(kid) is None
    # The store opened as its own code opens it: no page and no journal has the key.
    rows = house.opened().reading._db.execute("select * from subject_keys").fetchall()
    assert key not in str(rows).encode()
    journal = database_path(house._folder.path, "tech-anna").with_name("read-tech-anna.db-wal")
    assert journal.stat().st_size == 0


async def test_what_leaves_the_scope_takes_its_keys_along(house, custody):
    custody.documents = (BOILER,)
    await house.sync()
    assert house.opened().reading.keys.kids() == []


async def test_a_key_that_is_held_is_not_asked_for_again(house, custody):
    await house.sync()
    await house.sync()
    assert len(custody.given) == 1


async def test_without_custody_and_while_it_is_away_everything_else_goes_on(device, platform, custody):
    custody.url = ""
    report = await device.sync()
    assert "input.not_found" in report.keys_fault
    custody.url = "http://127.0.0.1:1"
    await device.record(TravelStarted(), stream=BOILER)
    report = await device.sync()
    assert "cannot be reached" in report.keys_fault
    assert (report.sent, report.receipts) == (1, 1)


async def test_a_statement_of_nobody_we_trust_or_for_another_key_brings_no_keys(house, platform, custody):
    custody.add_position_key("tech-anna", "position")
    real, platform.ledger = platform.ledger, platform.time_key or platform.root
    with pytest.raises(Refused, match="cannot be believed"):
        await exchange(house)
    platform.ledger = real
    custody.wrap_public = WrapKey.generate().public
    with pytest.raises(Refused, match="another incarnation"):
        await exchange(house)
    assert len(house.opened().reading.keys.kids()) == 1


async def exchange(device):
    return await KeyExchange(device.parts, device._client).run(device.opened())


# --- What is made here ---


async def test_a_signers_name_is_sealed_and_its_key_is_in_no_event_but_at_custody(house, platform, custody, tmp_path):
    (tmp_path / "strokes.png").write_bytes(b"\x89PNG strokes")
    arguments = {"strokes": str(tmp_path / "strokes.png"), "signer": "Odile Martin", "shown": "one seal, two hours"}
    made = await run(house, "sign", {"intervention": "leaky-boiler", **arguments})
    assert "Odile Martin" in json.dumps(await run(house, "show", {"intervention": "leaky-boiler"}))
    await house.sync()
    event = admitted(platform, "intervention.signature_taken.v1")
    body = SignatureTaken.model_validate_json(event.signed.body)
    assert body.keys == ()
    assert body.shown_sha256 == hashlib.sha256(b"one seal, two hours").hexdigest()
    kid = body.signer.sealed.kid
    assert open_sealed_value(custody.keys[kid][0], made["id"], "signer", body.signer) == "Odile Martin"
    deposit = custody.deposits[kid]
    assert (deposit.purpose, deposit.actor, deposit.stream, deposit.event) == ("signer", "tech-anna", BOILER, made["id"])
    assert deposit.file == hashlib.sha256(b"\x89PNG strokes").hexdigest()
    # Custody has it: the device keeps no box of it, and the key only as custody lets it.
    assert house.parts.deposits.kids() == set()
    del custody.keys[kid]
    await house.sync()
    assert kid not in house.opened().reading.keys.kids()


async def test_a_position_is_sealed_under_the_weeks_key_and_its_author_can_read_it(house, platform, custody):
    custody.add_position_key("tech-anna", "position")
    custody.add_position_key("tech-anna", "service-position")
    await house.sync()
    await house.record(TravelStarted(position=HERE), stream=BOILER)
    await house.record(Arrived(position=HERE), stream=BOILER)
    await house.sync()
    for type_name, kid in (("travel_started", "week-position"), ("arrived", "week-service-position")):
        event = admitted(platform, f"intervention.{type_name}.v1")
        assert b"525200080" not in event.signed.body
        body = read_body(event.header.type, event.signed.body)
        assert body.position.kid == kid
        text = open_sealed_value(custody.keys[kid][0], event.header.id, "position", body.position)
        assert Position.model_validate_json(text) == HERE
    assert custody.deposits == {}
    shown = await run(house, "show", {"intervention": "leaky-boiler"})
    facts = shown["state"]["visits"][0]["facts"]
    assert facts["arrived"]["value"]["position"]["latitude_e7"] == HERE.latitude_e7


async def test_positions_of_a_locked_or_forgotten_device_get_keys_that_custody_takes_over(house, platform, custody, hands):
    custody.add_position_key("tech-anna", "position")
    custody.week_ms = (0, hands.wall + 1_000)
    await house.sync()
    hands.pass_ms(2_000)
    await house.record(TravelStarted(position=HERE), stream=BOILER)
    house.lock()
    await house.record(Arrived(position=HERE), stream=BOILER)
    assert b"525200080" not in b"".join(path.read_bytes() for path in house._folder.path.rglob("*") if path.is_file())
    # Locked, too: the boxes are for custody since its key was heard of.
    report = await house.sync()
    assert report.keys == 2
    assert {one.purpose for one in custody.deposits.values()} == {"position", "service-position"}
    event = admitted(platform, "intervention.arrived.v1")
    value = read_body(event.header.type, event.signed.body).position
    text = open_sealed_value(custody.keys[value.kid][0], event.header.id, "position", value)
    assert Position.model_validate_json(text) == HERE


async def test_a_box_for_nobody_or_for_an_old_key_of_custody_waits_for_the_technician(device, platform, custody):
    custody.url = ""
    await device.record(TravelStarted(position=HERE), stream=BOILER)
    custody.url = platform.url
    device.lock()
    await device.sync()
    assert custody.deposits == {}
    await device.unlock(PIN)
    await device.sync()
    assert len(custody.deposits) == 1
    await device.record(Arrived(position=HERE), stream=BOILER)
    custody.own = WrapKey.generate()
    await device.sync()
    assert len(custody.deposits) == 2
    assert device.parts.deposits.kids() == set()


async def test_what_custody_refuses_is_kept_and_tried_again(house, custody):
    await house.record(TravelStarted(position=HERE), stream=BOILER)
    custody.refuse = "input.not_found"
    report = await house.sync()
    assert "input.not_found" in report.keys_fault
    assert len(house.parts.deposits.kids()) == 1
    custody.refuse = ""
    assert (await house.sync()).keys_fault == ""
    assert house.parts.deposits.kids() == set()


async def test_a_box_and_its_event_are_on_the_disk_together_or_not_at_all(house, monkeypatch):
    def full(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(Deposits, "add", full)
    with pytest.raises(OSError, match="full"):
        await house.record(TravelStarted(position=HERE), stream=BOILER)
    assert house.parts.log.head().seq == 0
