"""What devices testify about two histories is listed, and each head is judged against the ledger as it stands."""

from typing import Any

from field_ingest.proof.split_views import split_views
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.events.testimony import SplitViewSeen
from zb_contracts.keys import SigningKey
from zb_contracts.notes import Checkpoint, NoteSigner, sign_checkpoint

BOILER = "intervention:11111111-1111-4111-8111-111111111111"
ORIGIN = "zone-blanche.test/ledger/0"


async def listed(company: Any) -> list[dict[str, Any]]:
    async with company.pool.acquire() as connection:
        found: list[dict[str, Any]] = await split_views(connection, company.ledger_keys)
    return found


async def test_a_head_that_the_ledger_signed_and_does_not_have_is_proof(company: Any, camille: Any) -> None:
    await company.record(camille, BOILER, CommentAdded(text="it leaks"))
    head = await company.checkpoints.current(company.pool, 0)
    other = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), NoteSigner(ORIGIN, company.ledger_key))
    body = SplitViewSeen(device="device-a", origin=ORIGIN, seen=head.note, shown=other)
    await company.record(camille, "device:device-a", body)
    await company.project()
    (told,) = await listed(company)
    assert (told["seen"], told["shown"], told["proven"]) == ("of this ledger", "of another history", True)
    assert (told["author"], told["position"], told["notes"]) == ("device-a-1", 1, [head.note, other])


async def test_a_head_that_no_ledger_key_signed_accuses_nobody(company: Any, camille: Any) -> None:
    mallory = SigningKey.from_seed(b"mallory's own key for this test!")
    forged = sign_checkpoint(Checkpoint(ORIGIN, 7, bytes(32)), NoteSigner(ORIGIN, mallory))
    for origin in (ORIGIN, "another.example/0"):
        await company.record(camille, "device:device-a", SplitViewSeen(device="device-a", origin=origin, shown=forged))
    told = await listed(company)
    assert [(one["seen"], one["shown"], one["proven"]) for one in told] == [("none", "not signed by the ledger", False)] * 2
