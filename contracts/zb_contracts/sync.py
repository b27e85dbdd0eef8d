"""Sync: what a device asks over request/reply, and the one signed answer it gets. MessagePack, compressed with zstd.

The answer echoes the nonce and is signed as a whole by a ledger key, so that nobody between can shorten, replay or forge a
receipt. What has its default is left out, and so is what did not change: an answer with nothing new is a few hundred bytes.
Decoding is bounded: a bomb of zeros is refused by its declared size before anything is allocated.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar

import msgspec
import zstandard

from zb_contracts.envelope import Anchor
from zb_contracts.healing import Healed
from zb_contracts.keys import KeyCertificate
from zb_contracts.problems import SYNC_MALFORMED, Problem
from zb_contracts.signed import SignedDocument

REQUEST_BYTES_MAX: Final = 16 * 1024
ANSWER_BYTES_MAX: Final = 512 * 1024
"""An answer is cut with a continuation before it grows beyond this."""
UNPACKED_BYTES_MAX: Final = 8 * 1024 * 1024
ANSWER_TYPE: Final = "application/vnd.zoneblanche.sync-answer.v1+msgpack"
RECEIPTS_MAX: Final = 1024
DOCUMENTS_MAX: Final = 1024
SCOPE_DOCUMENTS_MAX: Final = 10_000
SCOPE_BYTES_MAX: Final = 64 << 20
SCOPE_DOCUMENT_BYTES_MAX: Final = 2 << 20
"""What a scope may hold at most, whatever budget an operator gives; a device refuses more, whoever signed it."""
CATALOGUES_ASKED_MAX: Final = 16
"""Catalogues that one request may ask for."""
CATALOGUE_BYTES_MAX: Final = 1 << 20
CATALOGUE_PACKED_BYTES_MAX: Final = 384 * 1024
"""Of one catalogue, as it is and compressed: it travels whole, in one answer."""
CERTIFICATES_MAX: Final = 16
"""Of ledger keys, in all the time of a ledger: those that have ended stay known."""
ENDED_FOR_GOOD: Final = frozenset({"lost", "stolen", "retired", "replaced"})
"""Causes of a revocation after which nobody reads on the device again; a suspension has others."""

Nonce = Annotated[str, msgspec.Meta(pattern="^[a-f0-9]{32}$")]
Id = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,64}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Sha256Hex = Annotated[str, msgspec.Meta(pattern="^[a-f0-9]{64}$")]
CertificateName = Annotated[str, msgspec.Meta(pattern="^[a-f0-9]{16}$")]
Certificates = Annotated[tuple[KeyCertificate, ...], msgspec.Meta(max_length=CERTIFICATES_MAX)]


class Verdict(StrEnum):
    """What became of one event. `duplicate` is `admitted` that was asked again; both cover it."""

    ADMITTED = "admitted"
    DUPLICATE = "duplicate"
    HELD = "held"
    REFUSED = "refused"


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What the device tells of itself to those who look after it. It decides nothing; what the device does not know is left out.

    It goes with a request when something of it has changed, and again until an answer came.
    """

    number: Count
    """1, 2, 3 ... in the life of an incarnation: what is older never overwrites what is newer."""
    at_ms: Count
    """The device's wall clock now, in ms since 1970."""
    model: Short | None = None
    os: Short | None = None
    app: Short | None = None
    battery_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    waiting_events: Count = 0
    """Events without a receipt."""
    oldest_waiting_ms: Count | None = None
    """When the first of them was recorded, by the device's wall clock."""
    waiting_files: Count = 0
    """Photos and signatures whose bytes are not stored yet."""


class SyncRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What the device has, so that the answer holds only what it lacks."""

    v: Literal[1] = 1
    nonce: Nonce
    author: Id
    mark: Count
    """Up to here (contiguous) the device holds receipts."""
    head: Count
    """The device's own newest event."""
    checkpoint_size: Count = 0
    """Size of the newest checkpoint that the device verified; 0 for none."""
    scope_epoch: Annotated[str, msgspec.Meta(max_length=64)] = ""
    scope_cursor: Count = 0
    scope_count: Count = 0
    """Documents that the device holds: a mismatch with the server's count means a full resync."""
    wants_scope: bool = True
    """False: receipts alone, from a device that is locked or asks for an incarnation that it was."""
    bytes_max: Annotated[int, msgspec.Meta(ge=16 * 1024, le=ANSWER_BYTES_MAX)] = ANSWER_BYTES_MAX
    certificates: Annotated[tuple[CertificateName, ...], msgspec.Meta(max_length=CERTIFICATES_MAX)] = ()
    """Names of the certificates of ledger keys that the device knows."""
    wants_checkpoint: bool = True
    """False: the device verified one lately. Then the answer has one only where receipts or a loss need it."""
    catalogues: Annotated[tuple[Sha256Hex, ...], msgspec.Meta(max_length=CATALOGUES_ASKED_MAX)] = ()
    """Catalogues of the scope whose bytes the device lacks."""
    about: About | None = None
    """What the device tells of itself, where that has changed."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The ledger's verdict on one event. `position` is its place in the shard's log, from 0; refusals have one too."""

    seq: Count
    id: str
    verdict: Verdict
    position: Count | None = None
    code: str | None = None
    retryable: bool = False
    message: str | None = None
    header_sha256: str = ""
    """Of the header that the verdict is about: in a fork the device sees which of its two events it was."""
    inclusion: tuple[bytes, ...] = ()
    """RFC 6962 audit path of `leaf` at `position` in the answer's checkpoint."""
    leaf: bytes = b""
    """The leaf's bytes, canonical(kind, header hash, signature, received_at, verdict facts)."""


class Gap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The ledger lacks events from `first` on. A resend carries `nonce` in its message id, else the broker drops it."""

    first: Count
    nonce: Nonce


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the server wants of the device. Nothing of it deletes an event that has no receipt, but a wipe that is to be at once.

    `suspend`: reading ends while it lasts; where `argument` is one of ENDED_FOR_GOOD, the read models go.
    `wipe`: the same; with an `order`, the device sends what it has, attests (`device.wiped.v1`) and destroys its store and keys.
    `new_incarnation`: this author goes on no more, because the store is an old copy (`argument` sync.store_behind) or another
    incarnation replaced it (sync.replaced); the device makes a new event key and asks for an incarnation.
    """

    kind: Literal["suspend", "wipe", "release", "new_incarnation"]
    argument: str | None = None
    order: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,64}$")] | None = None
    """Of a wipe: its id, which the attestation repeats. The same order again is the same wipe."""
    at_once: bool = False
    """Of a wipe: the device is lost. It tries to send once and does not wait for what could not be sent."""


class ScopeDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest version of one document of a technician's scope, or its tombstone (`content` is None)."""

    id: str
    """The stream's name (`intervention:<id>`, `site:<id>` ...) or `catalogue:<kind>/<name>`."""
    change: Count
    vector: dict[str, int]
    """What later events of the device repeat in `seen`."""
    content: bytes | None
    """Canonical JSON of the merged state; of a catalogue, of the reference to it (`zb_contracts.catalogues`)."""


class ScopeDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The scope's changes after the cursor, in order. `full` tells the device to forget what is not in it."""

    epoch: str
    cursor: Count
    full: bool
    documents: tuple[ScopeDocument, ...]
    count: Count
    """Documents alive after this delta and its continuations."""
    more: bool
    omitted: tuple[str, ...] = ()
    """What the budget left out, by id: the first of it."""
    omitted_count: Count = 0
    """How many documents the budget left out."""


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of a catalogue: one zstd frame that declares its size. Whoever asked holds them against the hash."""

    sha256: Sha256Hex
    packed: Annotated[bytes, msgspec.Meta(max_length=CATALOGUE_PACKED_BYTES_MAX)]


class SyncAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that the device lacks, up to the size limit; `more` asks for another round at once."""

    v: Literal[1] = 1
    nonce: Nonce
    author: Id
    anchor: Anchor
    shard: Count
    mark: Count
    """The ledger's contiguous mark: it passes permanent refusals and stops at retryable ones."""
    receipts: tuple[Receipt, ...] = ()
    checkpoint: str | None = None
    """A signed note (C2SP tlog-checkpoint) of the shard's log; none where nothing needs one and the device did not ask."""
    consistency: tuple[bytes, ...] = ()
    """RFC 6962 proof from the request's `checkpoint_size` to `checkpoint`."""
    gap: Gap | None = None
    commands: tuple[Command, ...] = ()
    scope: ScopeDelta | None = None
    """None: not asked for, nothing moved, or it waits for the next round (`more`)."""
    more: bool = False
    healed: Healed | None = None
    """Where the device's checkpoint may be of a history that the ledger lost: its signed word on it."""
    refusal: str | None = None
    """The code of a Problem, where the request as a whole was refused."""
    certificates: Certificates = ()
    """The root's word on ledger keys, as far as the device lacks it: the key that signed this answer may be among them."""
    catalogues: Annotated[tuple[Catalogue, ...], msgspec.Meta(max_length=CATALOGUES_ASKED_MAX)] = ()
    """Of those that were asked for, what the technician's scope names and this answer has room for."""


class _Certified(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an answer before it is believed: the certificates prove themselves."""

    certificates: Certificates = ()


T = TypeVar("T")

_request_decoder = msgspec.msgpack.Decoder(SyncRequest)
_answer_decoder = msgspec.msgpack.Decoder(SyncAnswer)
_certified_decoder = msgspec.msgpack.Decoder(_Certified)
_document_decoder = msgspec.msgpack.Decoder(SignedDocument)
_encoder = msgspec.msgpack.Encoder()


def pack(message: SyncRequest | SignedDocument) -> bytes:
    """The bytes that travel."""
    return zstandard.ZstdCompressor(level=3).compress(_encoder.encode(message))


def answer_payload(answer: SyncAnswer) -> bytes:
    """The bytes that the ledger key signs (type ANSWER_TYPE)."""
    return _encoder.encode(answer)


def unpack_request(data: bytes) -> SyncRequest:
    """Problem SYNC_MALFORMED unless these are the bytes of a request within its limits."""
    if len(data) > REQUEST_BYTES_MAX:
        raise Problem(SYNC_MALFORMED, reason=f"{len(data)} bytes, the limit is {REQUEST_BYTES_MAX}")
    return _decoded(_request_decoder, inflated(data, REQUEST_BYTES_MAX * 4))


def unpack_document(data: bytes) -> SignedDocument:
    """The signed document of an answer, unverified. Problem SYNC_MALFORMED else."""
    return _decoded(_document_decoder, inflated(data, UNPACKED_BYTES_MAX))


def read_answer(payload: bytes) -> SyncAnswer:
    """The answer in a verified payload. Problem SYNC_MALFORMED else."""
    return _decoded(_answer_decoder, payload)


def certificates_unverified(payload: bytes) -> tuple[KeyCertificate, ...]:
    """The certificates in a payload that nobody has verified yet: each is the root's word or none. Problem SYNC_MALFORMED."""
    return _decoded(_certified_decoder, payload).certificates


def inflated(data: bytes, limit: int) -> bytes:
    """What one zstd frame unpacks to, at most `limit` bytes. Problem SYNC_MALFORMED else, before anything is allocated."""
    if not data.startswith(zstandard.FRAME_HEADER):
        # Of a skippable frame (eight bytes are enough) zstd says that it holds 4 GiB, and makes room for them.
        raise Problem(SYNC_MALFORMED, reason="no zstd frame")
    try:
        declared = zstandard.get_frame_parameters(data).content_size
        if declared > limit:
            raise Problem(SYNC_MALFORMED, reason=f"it unpacks to {declared} bytes, or does not say; the limit is {limit}")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=limit)
    except zstandard.ZstdError as fault:
        raise Problem(SYNC_MALFORMED, reason=str(fault)[:200]) from fault


def _decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as fault:
        raise Problem(SYNC_MALFORMED, reason=str(fault)[:200]) from fault
