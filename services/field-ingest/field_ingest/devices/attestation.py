"""What a device attested when it was wiped, and what of that the ledger can verify.

An attestation is the device's word, as good as the program that gave it. What holds beyond that: its signature, that nothing of
its author came after, and whether the ledger has every event that the device says it had.
"""

from typing import Any

from zb_chassis.database import Connection
from zb_contracts.envelope import SignedEvent, check_signature, parse_event
from zb_contracts.events.registry import read_body
from zb_contracts.events.testimony import DeviceWiped, LogLeft
from zb_contracts.problems import Problem
from zb_contracts.times import format_time_ms


async def attestation(connection: Connection, device: str, login_key: str) -> dict[str, Any] | None:
    """The attestation of this hardware and the verdict on it; None where it has not attested."""
    row = await connection.fetchrow(
        """
        SELECT l.event_id, l.author, l.seq, l.received_at_ms, l.kind, l.header, l.body, l.signature, a.event_key, a.mark
        FROM ledger l JOIN authors a USING (author)
        WHERE l.event_id = attested_wipe($1, $2) AND l.kind <> 'refusal'
        """,
        device,
        login_key,
    )
    if row is None:
        return None
    said = read_body("device.wiped.v1", row["body"])
    found = {
        "event": row["event_id"],
        "author": row["author"],
        "received_at": format_time_ms(row["received_at_ms"]),
        "is_held": row["kind"] == "held",
        "signature_holds": _signature_holds(row),
        "is_last_event": row["mark"] == row["seq"],
    }
    if not isinstance(said, DeviceWiped):
        return found | {"is_readable": False}
    rows = await connection.fetch("SELECT author, mark FROM authors WHERE device = $1", device)
    marks: dict[str, int] = {one["author"]: one["mark"] for one in rows}
    lacking = {log.author: _lacking(log, marks.get(log.author, 0)) for log in said.logs}
    return found | {
        "is_readable": True,
        "order": said.order,
        "at_once": said.at_once,
        "read_models": said.read_models,
        "files_left": said.files_left,
        "bytes_left": said.bytes_left,
        "logs": [log.model_dump() for log in said.logs],
        "events_lost": {author: count for author, count in lacking.items() if count},
    }


def _signature_holds(row: Any) -> bool:
    try:
        check_signature(row["event_key"], parse_event(SignedEvent(row["header"], row["body"], row["signature"])))
    except Problem:
        return False
    return True


def _lacking(log: LogLeft, mark: int) -> int:
    """How many events of this log went with the device: the ledger has them up to its mark."""
    return max(0, log.head - mark)
