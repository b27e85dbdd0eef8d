"""What is promised to whoever holds a device: nothing confirmed is lost, nothing dropped early, and both sides agree in the end.

`after_sync` looks whenever a device has heard the ledger; `check` once all has come to rest. The ledger's own matters are in
`invariants`.
"""

from typing import Final

from field_ingest.ledger.appending import Row
from tests.simulation.company import Company
from tests.simulation.handset import PROMPT, Confirmed, Handset
from tests.simulation.ingest import Ingest
from tests.simulation.keys import ESCROW
from tests.simulation.world import Broken
from zb_contracts import merkle
from zb_contracts.envelope import ParsedEvent
from zb_contracts.merge.state import read_state
from zb_contracts.segment import open_event
from zb_device.bound_secret import BoundSecret
from zb_device.database import open_database
from zb_device.folder import DATABASE_FILE
from zb_device.local_state import local_state
from zb_device.settings import LedgerView

KEPT: Final = "what a screen confirmed is never lost"
COVERED: Final = "nothing is dropped before a signed receipt covers it"
VERIFIED: Final = "a device believes only the ledger"
AGREED: Final = "the device shows what the server has"

PROMPT_MS: Final = 45 * 60_000
"""Rest is reached in this time unless the broker lost or damaged what it had acknowledged: that is sent again after an hour."""
_STATES: Final = {"admitted": {"admitted", "held"}, "held": {"held"}, "refused": {"refusal"}}


def after_sync(handset: Handset, ingest: Ingest) -> None:
    """What the device takes for settled, and drops, is so in the ledger; its view of the log is the log's."""
    ledger, authors = ingest.ledger, handset.authors()
    rows = handset.parts.syncer.connection.execute(
        "select incarnation, seq, id, header_sha256, state, for_escrow is null from log"
        " where state not in ('queued', 'received') or for_escrow is null"
    )
    for incarnation, seq, event_id, header_sha256, state, is_dropped in rows.fetchall():
        row = _row_of(ingest, authors[incarnation], seq, bytes.fromhex(header_sha256))
        if is_dropped and (row is None or row.kind == "refusal"):
            raise Broken(COVERED, f"{handset.device} dropped {seq} ({event_id}), which the ledger has not admitted")
        if row is None or row.kind not in _STATES[state]:
            raise Broken(VERIFIED, f"{handset.device} takes {seq} for {state}, the ledger for {row and row.kind}")
    view = handset.parts.settings.get(LedgerView)
    if view is not None and view.size:
        leaves = [row.leaf_hash for row in ledger.shards[handset.shard].rows[: view.size]]
        if len(leaves) != view.size or merkle.root_of(leaves) != view.root:
            raise Broken(VERIFIED, f"{handset.device} believes in a log of {view.size} rows that is not the ledger's")


def check(company: Company) -> None:
    """All of this module, once all has come to rest."""
    _nothing_is_lost(company)
    for handset in company.handsets:
        after_sync(handset, company.ingest)
        if not company.is_revoked(handset.device):
            _agrees(company, handset)
    rested, injected = company.rested_after_ms or 0, company.world.faults.injected
    if rested > PROMPT_MS and not injected["broker loses its end"] and not injected["broker damages a message"]:
        raise Broken(PROMPT, f"it took {rested // 60_000} minutes")


def _nothing_is_lost(company: Company) -> None:
    for event in company.confirmed.values():
        if event.folder not in company.gone and _row_of(company.ingest, event.author, event.seq, event.header_hash) is None:
            _is_kept(event)
    names = {demand.sha256 for row in company.media.rows.values() for demand in row.wanted}
    missing = names - company.media.files.keys()
    if missing and not company.gone and not any(company.is_revoked(handset.device) for handset in company.handsets):
        raise Broken(KEPT, f"files are missing: {sorted(missing)}")


def _is_kept(event: Confirmed) -> None:
    """An event that the ledger never had: its bytes are still in the folder."""
    secret = BoundSecret.read(event.folder)
    connection = open_database(event.folder / DATABASE_FILE, secret.derive("device.db"), "device")
    try:
        row = connection.execute("select for_escrow, state from log where id = ?", (event.id,)).fetchone()
    finally:
        connection.close()
    if row is None or row[0] is None or not open_event(ESCROW.private, row[0]).header:
        raise Broken(KEPT, f"event {event.seq} of {event.author} ({event.id}) is neither in the ledger nor in its folder")


def _agrees(company: Company, handset: Handset) -> None:
    """The read model is the technician's scope, and with nothing pending a document is shown as the server has it."""
    views, reading = company.ingest.views, handset.reading
    scope = {stream for (name, stream), row in views.documents.items() if name == handset.technician and row.state_hash}
    held = {stream for kind in ("intervention", "site", "equipment", "stock") for stream in reading.ids(kind)}
    if scope != held:
        raise Broken(AGREED, f"{handset.device} holds {sorted(held)}, the scope is {sorted(scope)}")
    for stream in sorted(scope):
        state = views.states[stream]
        document = reading.document(stream)
        if document is None or document.content != (state.document or state.state):
            raise Broken(AGREED, f"{handset.device} has another {stream} than the server")
        own = [event for event in handset.opened.own.of(stream) if _is_admitted(company.ingest, event)]
        shown = local_state(stream, document, own)
        if shown is None or shown.pending or shown.state != read_state(stream, document.content):
            raise Broken(AGREED, f"{handset.device} shows {stream} otherwise than the server")


def _is_admitted(ingest: Ingest, event: ParsedEvent) -> bool:
    row = _row_of(ingest, event.header.author, event.header.seq, event.header_hash)
    return row is not None and row.kind != "refusal"


def _row_of(ingest: Ingest, author: str, seq: int, header_hash: bytes) -> Row | None:
    row = ingest.ledger.chain.get((author, seq))
    if row is not None and row.header_hash == header_hash:
        return row
    return ingest.ledger.strays.get((author, seq, header_hash))
