"""Every refusal of the platform, listed once: code, message, whether a retry can help, HTTP status.

Codes are stable and never reused. The edges map a Problem to RFC 9457 on HTTP, to term or delayed nak on a message,
and to a verdict in a receipt. What is not in this list is a bug, and is treated as one (nak, bounded, dead letter).
"""

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of refusal. `message` is a format string of named details."""

    code: str
    message: str
    status: int
    retryable: bool = False


class Problem(Exception):
    """A refusal with its details. `str()` is the message with the details filled in.

    `errors` lists the single faults where one request has several (fields of a body, rows of a file).
    """

    def __init__(self, kind: ProblemType, /, *, errors: tuple[dict[str, Any], ...] = (), **details: Any) -> None:
        self.kind = kind
        self.details = details
        self.errors = errors
        super().__init__(kind.message.format(**details))

    @property
    def code(self) -> str:
        return self.kind.code

    @property
    def retryable(self) -> bool:
        return self.kind.retryable


PROBLEMS: Final[dict[str, ProblemType]] = {}


def _problem(code: str, message: str, status: int, *, retryable: bool = False) -> ProblemType:
    if code in PROBLEMS:
        raise ValueError(f"problem code used twice: {code}")
    PROBLEMS[code] = kind = ProblemType(code, message, status, retryable)
    return kind


# Bytes that no known key signed: they never reach the ledger, only the rejects table.
SEGMENT_MALFORMED = _problem("segment.malformed", "the segment cannot be read: {reason}", 400)
SEGMENT_TOO_LARGE = _problem("segment.too_large", "the segment has {size} bytes, the limit is {limit}", 413)
SEGMENT_TOO_LONG = _problem("segment.too_long", "the segment has {count} events, the limit is {limit}", 413)
SEGMENT_NOT_CONSECUTIVE = _problem("segment.not_consecutive", "event {index} of the segment does not follow", 400)
SEGMENT_WRONG_SUBJECT = _problem("segment.wrong_subject", "a segment of {author} came on the subject of {subject}", 403)
SEGMENT_AHEAD = _problem("segment.ahead", "the segment begins at {first}, the ledger has {mark}", 409, retryable=True)
AUTHOR_UNKNOWN = _problem("event.author_unknown", "no key is known for the author {author}", 403, retryable=True)
HEADER_MALFORMED = _problem("event.header_malformed", "the header cannot be read: {reason}", 400)
SIGNATURE_INVALID = _problem("event.signature_invalid", "the signature of event {seq} is not the author's", 403)
LINK_BROKEN = _problem("event.link_broken", "event {seq} does not name the hash of the header before it", 409)
BODY_MISMATCH = _problem("event.body_mismatch", "the body of event {seq} has another digest than its header says", 400)

# Refusals of an authenticated author: rows of the ledger.
FORK = _problem("event.fork", "the ledger has another event {seq} of this author", 409)
BODY_TOO_LARGE = _problem("event.body_too_large", "the body has {size} bytes, the limit is {limit}", 413)
BODY_NOT_CANONICAL = _problem("event.body_not_canonical", "the body is not canonical JSON: {reason}", 400)
ID_TAKEN = _problem("event.id_taken", "the ledger has the id {id} already, with another content", 409)
SEEN_AHEAD = _problem(
    "event.seen_ahead", "the event claims to know {author} up to {claimed}, the ledger has {known}", 409, retryable=True
)
SEEN_SHRINKS = _problem("event.seen_shrinks", "the event knows less of {author} than an earlier one of its author", 409)
SEEN_OPEN = _problem("event.seen_open", "the event knows {author} up to {seq}, but not what that event knew", 409)
SEEN_TOO_LARGE = _problem("event.seen_too_large", "the vector names {count} authors, the limit is {limit}", 413)
TYPE_NOT_ALLOWED = _problem("event.type_not_allowed", "an author of kind {kind} may not write {type}", 403)
HOLD_UNKNOWN = _problem("event.hold_unknown", "{author} has no held event {seq} with the id {id} on {stream}", 409)
HOLD_TURN = _problem(
    "event.hold_turn", "{earlier} held events of {author} wait before {id}: admit them first, in their order", 409
)
HELD = _problem("event.held", "a supervisor decides: the device was revoked, or the actor never had a session on it", 202)

SYNC_MALFORMED = _problem("sync.malformed", "the sync message cannot be read: {reason}", 400)
SYNC_WRONG_NONCE = _problem("sync.wrong_nonce", "the answer belongs to another question", 409, retryable=True)
SYNC_SIGNATURE_INVALID = _problem("sync.signature_invalid", "the answer is not signed by a ledger key that we trust", 403)
SYNC_SPLIT_VIEW = _problem("sync.split_view", "the ledger shows a history that contradicts its checkpoint {size}", 409)
SYNC_ROLLBACK = _problem("sync.rollback", "the answer goes back from cursor {held} to {offered}", 409)
SYNC_SCOPE_LIMIT = _problem("sync.scope_limit", "the scope has {size} {what}, this device takes at most {limit}", 413)
SYNC_CATALOGUE_INVALID = _problem("sync.catalogue_invalid", "the catalogue {name} cannot be taken: {reason}", 422)
SYNC_WRONG_AUTHOR = _problem("sync.wrong_author", "{author} is no incarnation of the device {device}", 403)
SYNC_WRONG_TECHNICIAN = _problem("sync.wrong_technician", "the device {device} has no session of {technician}", 403)
SYNC_STORE_BEHIND = _problem(
    "sync.store_behind", "the ledger has {mark} events of {author}, the store of the device {head}: it is an old copy", 409
)
SYNC_REPLACED = _problem("sync.replaced", "the author {author} was replaced: another incarnation of the device goes on", 409)
SYNC_CHECKPOINT_AHEAD = _problem("sync.checkpoint_ahead", "you saw a checkpoint of {claimed} rows, the ledger has {size}", 409)

UNAUTHENTICATED = _problem("access.unauthenticated", "a valid bearer token is needed: {reason}", 401)
FORBIDDEN = _problem("access.forbidden", "this needs one of the roles {roles}", 403)
WRONG_AGENCY = _problem("access.wrong_agency", "the agency {agency} is not yours to act for", 403)
DEVICE_PROOF_INVALID = _problem("access.device_proof_invalid", "the device did not prove its login key: {reason}", 401)

DEVICE_PROOF_TIME = _problem(
    "access.device_proof_time", "the proof is of {time}, here it is {now}: at most {limit_s} s between them are allowed", 401
)

INPUT_INVALID = _problem("input.invalid", "the request does not have the form that the contract asks for", 422)
INPUT_TOO_LARGE = _problem("input.too_large", "the request has more than {limit} bytes", 413)
INPUT_NOT_FOUND = _problem("input.not_found", "there is no {what} {id}", 404)
INPUT_METHOD = _problem("input.method", "{method} is not possible here", 405)
INPUT_ROWS = _problem("input.rows", "{bad} of {total} rows cannot be taken", 422)
INPUT_ENCODING = _problem("input.encoding", "the file is neither UTF-8 nor Windows-1252", 422)
INPUT_COLUMNS = _problem("input.columns", "the file lacks the columns {missing}", 422)
FIELD_UNKNOWN = _problem("input.field_unknown", "{field} is no field of {stream}; there are {fields}", 422)
EXISTS_DIFFERENT = _problem("input.exists_different", "{what} {id} exists with another content", 409)

VERSION_CONFLICT = _problem("plan.version_conflict", "{id} is at version {actual}, you saw {seen}", 409)
PLAN_CLOSED = _problem("plan.closed", "the intervention {id} is closed: {status}", 409)
PLAN_IMPOSSIBLE = _problem("plan.impossible", "{id} cannot be planned: {reason}", 409)
PLAN_STATE = _problem("plan.state", "{command} is not possible while the intervention is {status}", 409)

MEDIA_HASH = _problem("media.hash", "the bytes have the hash {actual}, {declared} was declared", 460)
MEDIA_OFFSET = _problem("media.offset", "the upload is at {actual}, the part begins at {offered}", 409, retryable=True)
MEDIA_LENGTH = _problem("media.length", "the upload declares {declared} bytes, the limit is {limit}", 413)
MEDIA_CHECKSUM = _problem("media.checksum", "the part arrived with another checksum", 460, retryable=True)
FILE_UNNAMED = _problem("media.unnamed", "no event of the device that the ledger has names the file {id}", 404, retryable=True)
MEDIA_HANDOVER = _problem("media.handover", "the ledger did not hand this file over to the evidence store: {reason}", 403)
MEDIA_VERSION = _problem("media.version", "tus {offered} is not spoken here, 1.0.0 is", 412)
MEDIA_QUOTA = _problem("media.quota", "the device has {count} unfinished uploads, the limit is {limit}", 429, retryable=True)
MEDIA_ERASED = _problem("media.erased", "the file {id} was erased on {at}", 410)
MEDIA_STORED = _problem(
    "media.stored",
    "the device has stored {stored} bytes within {days} days, with this file it were more than {limit}",
    429,
    retryable=True,
)

BILLING_NOTHING = _problem("billing.nothing", "no closed intervention waits for the profile {profile}", 409)
BILLING_LAYOUT = _problem("billing.layout", "{field} does not fit its column: {reason}", 422)
BILLING_FILE_DIFFERS = _problem("billing.file_differs", "{name} exists with other bytes than the batch has", 409)

ENROLMENT_CODE = _problem("enrolment.code", "the code is unknown, used or expired", 403)
INVITATION_MALFORMED = _problem("enrolment.invitation", "this is no invitation of the platform: {reason}", 400)
ENROLMENT_PROOF = _problem("enrolment.proof", "the keys are not proven: {reason}", 403)
DEVICE_REVOKED = _problem("enrolment.revoked", "the device {device} is revoked since {since}", 403)
DEVICE_REPLACED = _problem(
    "enrolment.replaced", "the device {device} was enrolled anew as {author}: it needs a new one-time code to go on", 409
)
DEVICE_SUSPENDED = _problem(
    "enrolment.suspended", "the device {device} is suspended until {until}: {reason}", 403, retryable=True
)
DEVICE_WIPING = _problem(
    "enrolment.wiping", "the device {device} is to be wiped (order {order}): it gets a drain session and nothing else", 403
)
INCARNATION_LIMIT = _problem(
    "enrolment.incarnation_limit",
    "the device {device} became {count} incarnations within {hours} h, which is the limit: are two copies of it in use?",
    429,
    retryable=True,
)

FLEET_STANDING = _problem("fleet.standing", "{act} is not possible: the device {device} is {standing}", 409)
FLEET_CODE_USED = _problem("fleet.code_used", "the code {code} was used already, by the device {device}: suspend that", 409)
FLEET_AGENCY_CIRCLE = _problem("fleet.agency_circle", "{agency} would lie below itself", 409)
FLEET_AGENCY_DEEP = _problem("fleet.agency_deep", "{agency} would lie {depth} levels deep, the limit is {limit}", 409)
FLEET_AGENCY_CLOSED = _problem("fleet.agency_closed", "the agency {agency} is closed: enter it again first", 409)
FLEET_AGENCY_IN_USE = _problem("fleet.agency_in_use", "the agency {agency} cannot be closed: {uses}", 409)
FLEET_AGENCIES_MAX = _problem("fleet.agencies_max", "there are {limit} agencies already, which is the limit", 409)

SUBJECT_UNKNOWN = _problem("subject.unknown", "nothing was ever sealed for a data subject {subject}", 404)
SUBJECT_ERASED = _problem("subject.erased", "the keys of {subject} were destroyed already, on {at}", 409)
SUBJECT_HELD = _problem("subject.held", "{subject} is under the legal hold {case} since {since}: lift it first", 409)
SUBJECT_NOT_HELD = _problem("subject.not_held", "{subject} is under no legal hold", 409)
DEPOSIT_REFUSED = _problem("subject.deposit_refused", "the key {kid} is not taken: {reason}", 422)
STATEMENT_REFUSED = _problem("subject.statement_refused", "the scope statement is not believed: {reason}", 403)
SUBJECT_RETAINED = _problem("subject.retained", "all that is sealed for {subject} has to be kept until {until}: {basis}", 409)

RATE_LIMITED = _problem("system.rate_limited", "too many requests, wait {seconds} s", 429, retryable=True)
UNAVAILABLE = _problem("system.unavailable", "{what} cannot be reached", 503, retryable=True)
NEWER_DATA = _problem(
    "system.newer_data", "the data in {place} is of version {found}, this program knows {known}: update it", 500
)
INTERNAL = _problem("system.internal", "an unexpected fault, noted as {trace}", 500)
