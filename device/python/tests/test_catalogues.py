"""Shared catalogues on the device: fetched once by hash, kept for everybody, never believed and never lost for good."""

import msgspec
import pytest
import zstandard

from tests.fixtures.wire_bytes import Counted
from zb_contracts import canonical
from zb_contracts.catalogues import Packed, packed
from zb_contracts.problems import Problem
from zb_contracts.sync import CATALOGUE_BYTES_MAX, Catalogue, SyncAnswer
from zb_device.catalogues import FILE_NAME, KEPT_MS, USE_NOTED_EVERY_MS, Catalogues
from zb_device.faults import CatalogueMissing
from zb_device.reporting import status

BOILER = "intervention:leaky-boiler"
SAFETY = {"checklist": "lift-safety", "version": 1, "title": "Safety", "items": []}
KEY = bytes(range(32))
NOON_MS = 1_795_000_000_000


def safety(version: int = 1) -> Packed:
    return packed("checklist", "lift-safety", version, canonical.encode(SAFETY | {"version": version}))


def parts(count: int) -> Packed:
    return packed("parts", "main", 1, canonical.encode({"parts": [f"P-{number}" for number in range(count)]}))


def came(*found: Packed) -> list[Catalogue]:
    return [Catalogue(sha256=one.reference.sha256, packed=one.packed) for one in found]


def hashes(*found: Packed) -> list[str]:
    return [one.reference.sha256 for one in found]


@pytest.fixture
def catalogues(tmp_path):
    store = Catalogues(tmp_path, KEY)
    yield store
    store.close()


async def refused(device, twist, platform) -> None:
    """The answer is refused and reported; nothing of the catalogue is kept."""
    platform.twist = twist
    with pytest.raises(Problem) as caught:
        await device.sync()
    assert caught.value.code == "sync.catalogue_invalid"
    assert [problem["code"] for problem in status(device)["problems"]] == ["sync.catalogue_invalid"]
    with pytest.raises(CatalogueMissing):
        device.catalogue("checklist", "lift-safety")


async def test_a_catalogue_is_asked_for_once_and_kept(device, platform):
    platform.put_catalogue(safety())
    report = await device.sync()
    assert (report.catalogues, len(platform.requests)) == (1, 2)
    assert device.catalogue("checklist", "lift-safety") == SAFETY

    await device.sync()
    assert [request.catalogues for request in platform.requests] == [(), tuple(hashes(safety())), ()]


async def test_a_new_version_is_fetched_and_only_that(device, platform):
    platform.put_catalogue(safety())
    platform.put_catalogue(parts(9))
    await device.sync()
    platform.put_catalogue(safety(2))
    report = await device.sync()
    assert report.catalogues == 1
    assert device.catalogue("checklist", "lift-safety")["version"] == 2


async def test_what_the_server_does_not_have_is_asked_for_once_a_sync(device, platform):
    platform.put_catalogue(safety())
    platform.catalogues.clear()
    await device.sync()
    assert len(platform.requests) == 2
    with pytest.raises(CatalogueMissing, match="next sync"):
        device.catalogue("checklist", "lift-safety")


async def test_a_sync_with_nothing_new_is_one_request_of_at_most_a_kilobyte_each_way(device, platform, wire):
    platform.put_document(BOILER, [])
    platform.put_catalogue(safety())
    await device.sync()
    counted = Counted(wire, "dev-1", "tech-anna")
    opened = device.opened()
    await device.parts.syncer.sync(counted, opened.reading, opened.reader)
    (cost,) = counted.exchanges
    assert cost.asked <= 1024
    assert cost.answered <= 1024


async def test_bytes_that_are_not_those_of_their_hash_are_refused_and_reported(device, platform):
    platform.put_catalogue(safety())
    other = came(parts(3))[0].packed

    def swapped(answer: SyncAnswer) -> SyncAnswer:
        changed = tuple(msgspec.structs.replace(one, packed=other) for one in answer.catalogues)
        return msgspec.structs.replace(answer, catalogues=changed)

    await refused(device, swapped, platform)
    platform.twist = lambda answer: answer
    await device.sync()
    assert device.catalogue("checklist", "lift-safety") == SAFETY


async def test_a_bomb_of_zeros_never_unfolds(device, platform):
    platform.put_catalogue(safety())
    bomb = zstandard.ZstdCompressor().compress(bytes(CATALOGUE_BYTES_MAX + 1))

    def armed(answer: SyncAnswer) -> SyncAnswer:
        changed = tuple(msgspec.structs.replace(one, packed=bomb) for one in answer.catalogues)
        return msgspec.structs.replace(answer, catalogues=changed)

    await refused(device, armed, platform)


async def test_a_catalogue_that_nobody_asked_for_is_refused(device, platform):
    platform.put_catalogue(safety())
    await refused(device, lambda answer: msgspec.structs.replace(answer, catalogues=tuple(came(parts(3)))), platform)


async def test_a_reference_that_is_none_is_refused_with_its_scope(device, platform):
    platform.put_document(BOILER, [])
    platform.put_catalogue(safety())
    document = platform.documents["catalogue:checklist/lift-safety"]
    platform.documents[document.id] = msgspec.structs.replace(document, content=b'{"kind":"checklist","name":"other"}')
    await refused(device, lambda answer: answer, platform)
    assert device.opened().reading.ids("intervention") == []


def test_of_two_technicians_the_second_finds_what_the_first_fetched(catalogues):
    catalogues.keep(came(safety(), parts(5)), hashes(safety(), parts(5)), NOON_MS)
    assert catalogues.lacking([safety().reference, parts(5).reference, parts(6).reference]) == tuple(hashes(parts(6)))
    assert catalogues.content(hashes(parts(5))[0]) is not None


def test_what_is_in_use_stays_and_the_rest_goes_after_a_while(catalogues):
    found = [safety(), parts(5)]
    catalogues.keep(came(*found), hashes(*found), NOON_MS)
    for later_ms in (USE_NOTED_EVERY_MS, KEPT_MS - 1):
        catalogues.tidy([safety().reference], NOON_MS + later_ms)
        assert catalogues.lacking(one.reference for one in found) == ()
    catalogues.tidy([safety().reference], NOON_MS + KEPT_MS)
    assert catalogues.lacking(one.reference for one in found) == tuple(hashes(parts(5)))


def test_beyond_the_limit_of_bytes_only_what_is_in_use_stays(catalogues, monkeypatch):
    found = [safety(), parts(5), parts(6)]
    catalogues.keep(came(*found), hashes(*found), NOON_MS)
    monkeypatch.setattr("zb_device.catalogues.BYTES_MAX", len(parts(6).packed))
    catalogues.tidy([parts(6).reference], NOON_MS)
    assert catalogues.lacking(one.reference for one in found) == tuple(sorted(hashes(safety(), parts(5))))


def test_a_damaged_file_is_begun_anew(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    catalogues = Catalogues(tmp_path, KEY)
    assert catalogues.lacking([safety().reference]) == tuple(hashes(safety()))
    catalogues.keep(came(safety()), hashes(safety()), NOON_MS)
    catalogues.close()
    assert Catalogues(tmp_path, KEY).lacking([safety().reference]) == ()


def test_a_page_that_is_damaged_is_found_before_anything_is_read_and_everything_begins_anew(tmp_path):
    catalogues = Catalogues(tmp_path, KEY)
    catalogues.keep(came(safety(), parts(9_000)), hashes(safety(), parts(9_000)), NOON_MS)
    catalogues.close()
    path = tmp_path / FILE_NAME
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(bytes(data))
    assert set(catalogues.lacking([safety().reference, parts(9_000).reference])) == set(hashes(safety(), parts(9_000)))
    catalogues.close()
