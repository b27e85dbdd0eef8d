"""Names on the wire: JetStream streams, subjects, and the ids that may be part of them.

One place for every name, so that permissions, publishers and subscribers cannot drift apart. It does not say who may
use them: the account layout does (deploy/local/zb/accounts.py and the Helm chart).
"""

import re
from dataclasses import dataclass
from typing import Final

# A device named "*" would own every subject: whoever issues an id checks it, and whoever builds a subject again.
ID_PATTERN: Final = re.compile(r"[a-z0-9-]{1,64}")

SHARDS_MAX: Final = 64
"""Logs of one ledger: each has a consumer on FIELD and on OFFICE."""

DRAIN: Final = "drain"
"""Stands in for the technician in the sync subject of a session without a person's login."""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A JetStream stream: which subjects it takes, and its limits. `owner` is the one service that creates it."""

    name: str
    subjects: tuple[str, ...]
    owner: str
    max_age_s: int
    bytes_max: int
    message_bytes_max: int = 1_048_576
    messages_per_subject_max: int = -1
    duplicate_window_s: int = 120


_DAY_S = 86_400

FIELD: Final = StreamSpec(
    "FIELD",
    ("field.v1.*",),
    "field-ingest",
    max_age_s=14 * _DAY_S,
    bytes_max=32 << 30,
    message_bytes_max=320 << 10,
    messages_per_subject_max=20_000,
)
"""Segments of devices. `discard: new` and a quota a subject: one device's flood fills only its own place."""

OFFICE: Final = StreamSpec("OFFICE", ("office.v1.*",), "field-ingest", max_age_s=14 * _DAY_S, bytes_max=32 << 30)
"""Segments of server-side authors (offices and services), signed like a device's."""

INTERVENTIONS: Final = StreamSpec(
    "INTERVENTIONS", ("interventions.v1.*",), "field-ingest", max_age_s=30 * _DAY_S, bytes_max=32 << 30
)
"""Announcements of merged states, one subject an intervention."""

REFERENCE: Final = StreamSpec("REFERENCE", ("reference.v1.*",), "scheduling", max_age_s=400 * _DAY_S, bytes_max=1 << 30)
"""Reference data: price lists, contracts, catalogues."""

EVIDENCE: Final = StreamSpec("EVIDENCE", ("evidence.v1.*",), "media", max_age_s=30 * _DAY_S, bytes_max=8 << 30)
"""What the evidence store holds of an intervention, and whether it is complete."""

BILLING: Final = StreamSpec("BILLING", ("billing.v1.*",), "billing-bridge", max_age_s=30 * _DAY_S, bytes_max=8 << 30)
"""Batches, as they are frozen."""

DEADLETTER: Final = StreamSpec("DEADLETTER", ("deadletter.v1.*",), "field-ingest", max_age_s=400 * _DAY_S, bytes_max=8 << 30)
"""Messages that no bounded number of tries could handle, with the reason. One subject a service."""

STREAMS: Final = (FIELD, OFFICE, INTERVENTIONS, REFERENCE, EVIDENCE, BILLING, DEADLETTER)

DEPOT: Final = StreamSpec(
    "DEPOT",
    FIELD.subjects,
    "field-ingest",
    max_age_s=FIELD.max_age_s,
    bytes_max=4 << 30,
    message_bytes_max=FIELD.message_bytes_max,
    messages_per_subject_max=5_000,
    duplicate_window_s=_DAY_S,
)
"""FIELD of a depot: in its own store, on its own broker, kept while the way to the hub is down. It remembers message ids for a
day: a device that gets no receipts sends again."""

DEPOTS: Final = StreamSpec("DEPOTS", (), "field-ingest", max_age_s=FIELD.max_age_s, bytes_max=32 << 30)
"""What the hub has fetched from the depots' stores, each message once. Only where there are depots."""

DEPOT_WORDS: Final = "depot.v1.*.word.*"
"""Where a depot's store answers the hub."""

SYNC_PATTERN: Final = "sync.v1.*.*"
SYNC_QUEUE: Final = "ingest"
HINT_PATTERN: Final = "hint.v1.*"


def checked_id(value: str) -> str:
    """The id itself, or ValueError: ids that stand in subjects match `[a-z0-9-]{1,64}`."""
    if not ID_PATTERN.fullmatch(value):
        raise ValueError(f"not an id ([a-z0-9-], 1 to 64 characters): {value!r}")
    return value


def field(device: str) -> str:
    """Where a device publishes its segments."""
    return f"field.v1.{checked_id(device)}"


def office(author: str) -> str:
    """Where a server-side author publishes its segments."""
    return f"office.v1.{checked_id(author)}"


def sync(device: str, technician: str) -> str:
    """Where a device asks for receipts and scope; `technician` is DRAIN for a session without a login."""
    return f"sync.v1.{checked_id(device)}.{checked_id(technician)}"


def hint(device: str) -> str:
    """Where a connected device hears that it should ask again. The body is ignored."""
    return f"hint.v1.{checked_id(device)}"


def depot_way(depot: str) -> str:
    """Below it a depot's broker may publish at the hub: what its store delivers and answers."""
    return f"depot.v1.{checked_id(depot)}"


def announcement(intervention: str) -> str:
    """Where an intervention's merged state is announced."""
    return f"interventions.v1.{checked_id(intervention)}"


def reference(kind: str) -> str:
    """Where a kind of reference data is published, whole, each version."""
    return f"reference.v1.{checked_id(kind)}"


def evidence(intervention: str) -> str:
    """Where the state of an intervention's evidence is announced."""
    return f"evidence.v1.{checked_id(intervention)}"


def billing(profile: str) -> str:
    """Where a profile's frozen batches are announced."""
    return f"billing.v1.{checked_id(profile)}"


def deadletter(service: str) -> str:
    """Where a service puts what it could not handle."""
    return f"deadletter.v1.{checked_id(service)}"
