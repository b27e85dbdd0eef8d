"""What can be said of the service without running it: safe subscriptions, one schema from two ways of building it, keys."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest
from faststream.nats import NatsBroker

from field_ingest.admission.admitting import TRIES_MAX
from field_ingest.admission.intake import ACK_WAIT_S, PAUSES_S, Intake
from field_ingest.admission.routing import readings
from field_ingest.config import OWN_MIGRATIONS
from field_ingest.ledger.keyring import KeysUnusable, read_keys
from zb import keyring
from zb.keys import write_secret
from zb_chassis.catalogue import schema_differences
from zb_chassis.claims import Kind, Nkey
from zb_chassis.consuming import DeadLetters, unsafe_subscribers
from zb_chassis.migrate import CHASSIS_MIGRATIONS


def test_no_subscription_loses_a_message_at_its_first_fault(house: Any) -> None:
    broker = NatsBroker()
    mine = readings((0, 1), batch_max=64, ack_wait_s=ACK_WAIT_S)
    Intake(house.admission, DeadLetters(None, "field-ingest"), mine).subscribe(broker)  # type: ignore[arg-type]
    assert len(broker.subscribers) == len(mine) == 4
    assert unsafe_subscribers(broker) == []


def test_a_segment_waits_longer_than_what_a_killed_process_had_in_hand() -> None:
    pauses = [PAUSES_S[min(tries, len(PAUSES_S)) - 1] for tries in range(1, TRIES_MAX)]
    assert sum(pauses) > 2 * ACK_WAIT_S


async def test_the_schema_and_the_migrations_build_the_same_database(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    try:
        assert await schema_differences(connection, OWN_MIGRATIONS, after=[CHASSIS_MIGRATIONS]) == []
    finally:
        await connection.close()


@pytest.fixture
def keys_folder(tmp_path: Path) -> Path:
    keys = keyring.load_or_create(tmp_path / "keys", ("main",), 0)
    signer = Nkey.generate(Kind.ACCOUNT)
    write_secret(keys.folder / "device-signer.seed", signer.seed)
    write_secret(keys.folder / "device-signer.pub", b'{"signer":"%s","account":"A"}' % signer.public.encode())
    return keys.folder


def test_the_keys_that_the_stack_hands_out_are_read(keys_folder: Path) -> None:
    ring = read_keys(keys_folder)
    assert {author.author for author in ring.authors} == {"ingest", "billing-bridge", "office-main"}
    assert "seed" not in repr(ring)


@pytest.mark.parametrize(
    "name",
    [
        "root.pub",
        "ledger.json",
        "escrow.pub.json",
        "authors.json",
        "authors/ingest.seed",
        "device-signer.seed",
        "custody.pub",
        "media-wrap.pub",
    ],
)
def test_a_damaged_or_missing_key_file_is_named_and_its_content_is_not_told(keys_folder: Path, name: str) -> None:
    (keys_folder / name).write_text("5ec7e7")
    with pytest.raises(KeysUnusable, match=Path(name).name) as damaged:
        read_keys(keys_folder)
    assert "5ec7e7" not in str(damaged.value)
    (keys_folder / name).unlink()
    with pytest.raises(KeysUnusable, match="cannot be read"):
        read_keys(keys_folder)
