"""Positions are personal: where a technician was is sealed before it is signed, under a key that ends by itself.

A week's key from custody where there is one, else a fresh one, which custody gets with the next exchange. Places of work
(`location`) are no person's. Pure but for ids, keys and nonces.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from zb_contracts import canonical
from zb_contracts.events import Body, type_of
from zb_contracts.events.values import Position
from zb_contracts.sealed import SealedValue, fresh_nonce, fresh_subject_key, seal
from zb_contracts.subject_keys import Purpose
from zb_device.ids import uuid7
from zb_device.recording import Draft, MadeKey
from zb_device.subject_keys import MADE_HERE, HeldKey, SubjectKeys

FIELD: Final = "position"
ON_THE_WAY: Final = frozenset({"intervention.travel_started.v1", "intervention.travel_ended.v1"})
"""Positions of these prove no service: they end after two months, all others after a year."""


def with_sealed_positions(drafts: Sequence[Draft], technician: str, keys: SubjectKeys | None, now_ms: int) -> list[Draft]:
    """The drafts, no position in clear. `keys` None: the read model is locked, so that only a fresh key is to be had."""
    return [_sealed(draft, technician, keys, now_ms) for draft in drafts]


def made_here(drafts: Sequence[Draft]) -> list[HeldKey]:
    """The keys that were made for these events, for the technician who has just used them."""
    return [HeldKey(made.kid, made.key, MADE_HERE, made.purpose) for draft in drafts for made in draft.keys]


def purpose_of(body: Body) -> Purpose:
    """What a position in this body is recorded for."""
    return "position" if type_of(body).name in ON_THE_WAY else "service-position"


def _sealed(draft: Draft, technician: str, keys: SubjectKeys | None, now_ms: int) -> Draft:
    position = getattr(draft.body, FIELD, None)
    if not isinstance(position, Position):
        return draft
    event_id, purpose = draft.id or uuid7(now_ms), purpose_of(draft.body)
    given = keys.to_seal(purpose, technician, now_ms) if keys else None
    kid, key = given or (f"subject-{uuid7(now_ms)}", fresh_subject_key())
    value = seal(key, kid, event_id, FIELD, _text(position), fresh_nonce())
    made = () if given else (MadeKey(kid, key, purpose, (FIELD,)),)
    return replace(draft, id=event_id, body=_with(draft.body, value), keys=(*draft.keys, *made))


def _text(position: Position) -> str:
    return canonical.encode(position.model_dump(mode="json", exclude_none=True)).decode()


def _with(body: Body, value: SealedValue) -> Body:
    return body.model_copy(update={FIELD: value})
