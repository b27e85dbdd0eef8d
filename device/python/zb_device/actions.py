"""What a technician does in one gesture, as the drafts that must commit together.

A part used is its line and its stock movement; a voided part gives its quantity back; personal values are sealed under a key
that was made here and that custody gets beside the event. Pure but for ids, keys and nonces.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from zb_contracts.events import Body
from zb_contracts.events.fieldwork import LineVoided, PartUsed
from zb_contracts.events.places import StockMoved
from zb_contracts.events.values import File
from zb_contracts.faults import CryptoFault
from zb_contracts.merge.state import InterventionState, Line
from zb_contracts.sealed import fresh_nonce, fresh_subject_key, seal
from zb_contracts.subject_keys import Purpose
from zb_device.bodies import built
from zb_device.faults import LineUnknown, RecordInvalid
from zb_device.ids import uuid7
from zb_device.recording import Draft, MadeKey

PART_LINE: Final = "part"


def part_used(intervention: str, body: PartUsed, *, stock: str, now_ms: int, replaced: Line | None = None) -> tuple[Draft, ...]:
    """The line and the movements that it causes. A new version gives back what the replaced one had taken."""
    if body.quantity.startswith("-") or Decimal(body.quantity) == 0:
        raise RecordInvalid(f"a quantity of {body.quantity} was not used: use a positive number, or void the line")
    line = Draft(f"intervention:{intervention}", body, uuid7(now_ms))
    taken = StockMoved(part=body.part, quantity=f"-{body.quantity}", cause="used", line=line.id)
    returned = (_returned(replaced, stock),) if replaced else ()
    return (line, *returned, Draft(f"stock:{stock}", taken))


def line_voided(intervention: str, line: Line, reason: str, *, stock: str) -> tuple[Draft, ...]:
    """The void, and for a part the movement back."""
    void = Draft(f"intervention:{intervention}", LineVoided(line=line.id, reason=reason))
    return (void, _returned(line, stock)) if line.kind == PART_LINE else (void,)


def sealed_draft(
    stream: str, model: type[Body], values: Mapping[str, object], personal: Mapping[str, str], purpose: Purpose, now_ms: int
) -> Draft:
    """A body whose `personal` texts are sealed, under a key that is made here and that custody gets beside the event."""
    event_id, key, file = uuid7(now_ms), fresh_subject_key(), values.get("file")
    kid = f"subject-{uuid7(now_ms)}"
    try:
        sealed = {name: seal(key, kid, event_id, name, text, fresh_nonce()) for name, text in personal.items()}
    except CryptoFault as fault:
        raise RecordInvalid(str(fault)) from fault
    made = MadeKey(kid, key, purpose, tuple(personal), file.sha256 if isinstance(file, File) else None)
    return Draft(stream, built(model, **values, **sealed), event_id, (made,))


def line_of(state: InterventionState, line_id: str) -> Line:
    """The line that still stands. LineUnknown else."""
    for line in state.lines:
        if line.id == line_id and line.void is None:
            return line
    raise LineUnknown(f"the intervention has no line {line_id}, or it is voided already")


def _returned(line: Line, stock: str) -> Draft:
    quantity, part = str(line.value["quantity"]), str(line.value["part"])
    return Draft(
        f"stock:{line.value.get('stock') or stock}", StockMoved(part=part, quantity=quantity, cause="voided", line=line.id)
    )
