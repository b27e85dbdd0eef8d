"""JSON Schemas of everything that crosses a boundary, built from the models; pure, and committed under contracts/generated.

Event bodies, announcements and HTTP messages come from pydantic; header, states and sync messages from msgspec. It writes no
file: `zb generate` does, and its verify twin fails when the committed files are stale.
"""

from typing import Any, Final

import msgspec
from pydantic import BaseModel

from zb_contracts import announcements, enrolment, handover, server_time, subject_keys, sync
from zb_contracts.envelope import Header
from zb_contracts.events import EVENT_TYPES
from zb_contracts.merge import state as merged
from zb_contracts.problems import PROBLEMS
from zb_contracts.signed import SignedDocument

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

ANNOUNCEMENTS: Final[dict[str, type[BaseModel]]] = {
    announcements.INTERVENTION_STATE: announcements.InterventionAnnounced,
    announcements.EVIDENCE_STATE: announcements.EvidenceAnnounced,
    announcements.BATCH_FROZEN: announcements.BatchAnnounced,
    announcements.PRICE_LIST: announcements.PriceListPublished,
    announcements.CONTRACTS: announcements.ContractsPublished,
    announcements.CHECKLIST: announcements.ChecklistPublished,
    announcements.PICTURES_ERASED: announcements.PicturesErased,
    announcements.PARTS: announcements.PartsPublished,
    announcements.REASONS: announcements.ReasonsPublished,
}

ENROLMENT: Final[dict[str, type[BaseModel]]] = {
    "enrolment-request": enrolment.EnrolmentRequest,
    "enrolment-answer": enrolment.EnrolmentAnswer,
    "file-handover": handover.Handover,
    "file-handover-answer": handover.SignedHandover,
    "file-handover-request": handover.HandoverRequest,
    "incarnation-request": enrolment.IncarnationRequest,
    "scope-statement": subject_keys.ScopeStatement,
    "scope-statement-answer": subject_keys.SignedStatement,
    "scope-statement-request": subject_keys.StatementRequest,
    "subject-key-deposit-answer": subject_keys.DepositAnswer,
    "subject-key-deposit-request": subject_keys.DepositRequest,
    "subject-keys-answer": subject_keys.KeysAnswer,
    "subject-keys-request": subject_keys.KeysRequest,
    "time-answer": server_time.TimeAnswer,
    "token-request": enrolment.TokenRequest,
    "token-answer": enrolment.TokenAnswer,
}

STRUCTS: Final[dict[str, type[msgspec.Struct]]] = {
    "header": Header,
    "sync-request": sync.SyncRequest,
    "sync-answer": sync.SyncAnswer,
    "signed-document": SignedDocument,
    "state-intervention": merged.InterventionState,
    "state-site": merged.SiteState,
    "state-equipment": merged.EquipmentState,
    "state-stock": merged.StockState,
    "state-shift": merged.ShiftState,
}


WRITTEN: Final = frozenset(
    {*ANNOUNCEMENTS, "enrolment-answer", "token-answer", "sync-answer", "signed-document"}
    | {"scope-statement", "scope-statement-answer", "subject-keys-answer", "subject-key-deposit-answer"}
    | {name for name in STRUCTS if name.startswith("state-")}
)
"""Messages that others read; all else is read from others, event bodies too (see `compatibility`)."""


def event_schemas() -> dict[str, Schema]:
    """Event type -> schema of its body, with who may write it and on which stream."""
    return {
        name: {
            "$schema": DIALECT,
            "$id": f"urn:zone-blanche:event:{name}",
            **kind.model.model_json_schema(),
            "x-streams": sorted(kind.stream_kinds),
            "x-writers": sorted(kind.writers),
        }
        for name, kind in sorted(EVENT_TYPES.items())
    }


def message_schemas() -> dict[str, Schema]:
    """File name -> schema of every other message and of every merged state."""
    models = {**ANNOUNCEMENTS, **ENROLMENT}
    schemas: dict[str, Schema] = {name: model.model_json_schema() for name, model in models.items()}
    schemas |= {name: _flat(msgspec.json.schema(struct)) for name, struct in STRUCTS.items()}
    return {
        name: {"$schema": DIALECT, "$id": f"urn:zone-blanche:message:{name}", **schema}
        for name, schema in sorted(schemas.items())
    }


def problem_list() -> list[Schema]:
    """Every refusal: code, message, HTTP status, whether a retry can help."""
    return [
        {"code": kind.code, "message": kind.message, "status": kind.status, "retryable": kind.retryable}
        for kind in sorted(PROBLEMS.values(), key=lambda kind: kind.code)
    ]


def _flat(schema: Schema) -> Schema:
    """msgspec puts the struct itself among the definitions; lift it to the top."""
    name = str(schema.pop("$ref", "")).rpartition("/")[2]
    top = schema["$defs"].pop(name) if name else {}
    return {**top, **({"$defs": schema["$defs"]} if schema.get("$defs") else {})}
