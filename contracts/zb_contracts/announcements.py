"""What services tell each other and other systems: CloudEvents 1.0 in the NATS binding, binary mode, JSON data.

Every announcement of a merged state carries the ledger positions that it includes, so that a reader never goes back. Changes
are additive; a breaking change is a new `.v2` beside the old. It holds no transport.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from zb_contracts.events.office import Part
from zb_contracts.events.values import Cents, Code, Currency, Decimal, Id, Name, Sha256, Text, Uuid
from zb_contracts.times import TimeText

SPEC_VERSION: Final = "1.0"
INTERVENTION_STATE: Final = "zb.intervention.state.v1"
EVIDENCE_STATE: Final = "zb.evidence.state.v1"
BATCH_FROZEN: Final = "zb.billing.batch_frozen.v1"
PRICE_LIST: Final = "zb.reference.price_list.v1"
CONTRACTS: Final = "zb.reference.contracts.v1"
CHECKLIST: Final = "zb.reference.checklist.v1"
PICTURES_ERASED: Final = "zb.reference.pictures_erased.v1"
PICTURES_MAX: Final = 500
"""Of one message."""
PARTS: Final = "zb.reference.parts.v1"
REASONS: Final = "zb.reference.reasons.v1"


class Announcement(BaseModel):
    """Base of the data of every announcement. Unknown keys are ignored by readers: additive change is no break."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class InterventionAnnounced(Announcement):
    """The merged state of one intervention, whole, after the ledger positions `positions` (shard -> next position)."""

    intervention: Uuid
    agency: Id | None
    positions: dict[str, int]
    version: Annotated[int, Field(ge=1)]
    """Grows by one with each announcement of this intervention; a reader drops what is not newer."""
    state_hash: Sha256
    state: dict[str, Any]
    """`zb_contracts.merge.state.InterventionState` as JSON."""


class EvidenceItem(Announcement):
    """One file that the merged state names, and whether the store holds it, verified."""

    sha256: Sha256
    length_bytes: int
    mime: str
    line: Uuid
    kind: Literal["photo", "signature"]
    stored: bool


class EvidenceAnnounced(Announcement):
    """The evidence of one intervention: complete only when every hash is stored and verified."""

    intervention: Uuid
    version: Annotated[int, Field(ge=1)]
    items: tuple[EvidenceItem, ...]
    complete: bool


class BatchFile(Announcement):
    """One file of a frozen batch."""

    name: Name
    sha256: Sha256
    length_bytes: int


class BatchAnnounced(Announcement):
    """A numbered batch whose bytes never change again."""

    profile: Id
    batch: int
    interventions: tuple[Uuid, ...]
    total_cents: Cents
    currency: Currency
    files: tuple[BatchFile, ...]
    frozen_at: TimeText


class Price(Announcement):
    """The price of a part or of an hour (`unit` h) in a price list."""

    code: Code
    label: Name
    unit: Name
    unit_price_cents: Cents
    vat_permille: Annotated[int, Field(ge=0, le=1000)]


class PriceListPublished(Announcement):
    """A price list, whole. A new version replaces the old from `valid_from` on."""

    price_list: Code
    version: Annotated[int, Field(ge=1)]
    currency: Currency
    valid_from: TimeText
    prices: tuple[Price, ...]
    call_out_cents: Cents = 0


class Contract(Announcement):
    """A customer's contract: which price list, which account in the ERP."""

    contract: Code
    customer: Name
    erp_account: Code
    price_list: Code
    covered_parts: tuple[Part, ...] = ()
    labour_covered: bool = False


class PicturesErased(Announcement):
    """Pictures that show a data subject whose keys were destroyed: the evidence store forgets their bytes, whenever they come."""

    subject: Id
    agency: Id
    files: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=PICTURES_MAX)]


class ContractsPublished(Announcement):
    """All contracts of an agency, whole."""

    agency: Id
    version: Annotated[int, Field(ge=1)]
    contracts: tuple[Contract, ...]


class ChecklistItem(Announcement):
    """One question."""

    item: Code
    question: Text
    answer: Literal["yes_no", "text", "decimal"]
    required: bool = True
    minimum: Decimal | None = None
    maximum: Decimal | None = None


class ChecklistPublished(Announcement):
    """A checklist; devices hold it by the hash of its canonical bytes."""

    checklist: Code
    version: Annotated[int, Field(ge=1)]
    title: Name
    items: tuple[ChecklistItem, ...]

    @property
    def name(self) -> str:
        """Under which scopes refer to it."""
        return self.checklist


class PartListed(Announcement):
    """A part that a technician may fit or take from the van; what it costs is the price list's matter."""

    part: Code
    label: Name
    unit: Name


class PartsPublished(Announcement):
    """All parts of an agency, whole; devices hold them by the hash of their canonical bytes."""

    agency: Id
    version: Annotated[int, Field(ge=1)]
    parts: tuple[PartListed, ...]

    @property
    def name(self) -> str:
        """Under which scopes refer to it."""
        return self.agency


class Reason(Announcement):
    """Why an intervention was not done, as a technician chooses it (`reason_code`)."""

    reason: Code
    label: Name
    asks_for_text: bool = False
    """The choice alone says too little: the technician writes why."""


class ReasonsPublished(Announcement):
    """All reasons of an agency, whole; devices hold them by the hash of their canonical bytes."""

    agency: Id
    version: Annotated[int, Field(ge=1)]
    reasons: tuple[Reason, ...]

    @property
    def name(self) -> str:
        """Under which scopes refer to it."""
        return self.agency


def ce_headers(kind: str, *, source: str, event_id: str, time: str, subject: str) -> dict[str, str]:
    """The NATS headers of one CloudEvent in binary mode. `event_id` serves as `Nats-Msg-Id` as well."""
    return {
        "ce-specversion": SPEC_VERSION,
        "ce-type": kind,
        "ce-source": source,
        "ce-id": event_id,
        "ce-time": time,
        "ce-subject": subject,
        "content-type": "application/json",
        "Nats-Msg-Id": event_id,
    }
