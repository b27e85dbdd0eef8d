"""Who may do what on the broker: the account layout of Zone Blanche, as data and as signed claims.

SYS administers. CORE owns JetStream and one user a service, each with the least that it needs. DEV holds the devices,
has no JetStream, and reaches CORE through three imports only, so a reply subject that a device chooses cannot reach
`$JS.API` or another device's subject. Each depot has an account of its own (depot_access.py). It keeps no keys on disk (keys.py
does) and starts no server (nats.py does).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from zb import depot_access
from zb.depot_access import Depot
from zb_chassis import claims
from zb_chassis.claims import Claims, Credentials, Kind, Nkey, Permissions
from zb_contracts import subjects
from zb_contracts.subjects import StreamSpec

TOKEN_HOURS_MIN: Final = 24
TOKEN_HOURS_MAX: Final = 72
DEVICE_SUBSCRIPTIONS_MAX: Final = 8
DEVICE_PAYLOAD_BYTES_MAX: Final = 524_288

ACCOUNTS: Final = ("SYS", "CORE", "DEV")
"""Without the depots' own."""
SYSTEM: Final = "system"
SYNC_RESPONDER: Final = "field-ingest-sync"


@dataclass(frozen=True, slots=True)
class Access:
    """What one service does on the broker: the streams it creates (`owns`), and those it reads with a durable of its name.

    `consumes_alone`: streams that nobody else reads, where it may have any consumers (field-ingest: one a shard).
    `hears`: subjects beside its own inbox.
    """

    publishes: tuple[str, ...]
    publishes_not: tuple[str, ...] = ()
    owns: tuple[StreamSpec, ...] = ()
    consumes: tuple[StreamSpec, ...] = ()
    consumes_alone: tuple[StreamSpec, ...] = ()
    hears: tuple[str, ...] = ()


def _owned(service: str) -> tuple[StreamSpec, ...]:
    return tuple(stream for stream in subjects.STREAMS if stream.owner == service)


# The offices' authors carry their agency's name, which nobody knows here, and a NATS wildcard is a whole token:
# scheduling gets every office but those of the other services' authors.
SERVICE_AUTHORS: Final = ("billing-bridge", "field-ingest", "ingest", "media")

ACCESS: Final[Mapping[str, Access]] = {
    "field-ingest": Access(
        publishes=("interventions.v1.*", "hint.v1.*", *depot_access.MAKING_A_STORE),
        owns=(*_owned("field-ingest"), subjects.DEPOTS),
        consumes=(subjects.REFERENCE, subjects.EVIDENCE),
        consumes_alone=(subjects.FIELD, subjects.OFFICE, subjects.DEPOTS),
        hears=(subjects.DEPOT_WORDS,),
    ),
    "scheduling": Access(
        publishes=("office.v1.*", "reference.v1.*"),
        publishes_not=tuple(subjects.office(author) for author in SERVICE_AUTHORS),
        owns=_owned("scheduling"),
        consumes=(subjects.INTERVENTIONS, subjects.EVIDENCE, subjects.BILLING),
    ),
    "media": Access(
        publishes=("evidence.v1.*",),
        owns=_owned("media"),
        consumes=(subjects.INTERVENTIONS, subjects.REFERENCE),
    ),
    "billing-bridge": Access(
        publishes=("billing.v1.*", subjects.office("billing-bridge")),
        owns=_owned("billing-bridge"),
        consumes=(subjects.INTERVENTIONS, subjects.REFERENCE, subjects.EVIDENCE),
    ),
}
SERVICES: Final = tuple(ACCESS)

# {{name()}} is the device id, {{tag(t)}} the technician (or `drain`). No `$JS`, no `resp`.
DEVICE: Final = Permissions(
    publish=("field.v1.{{name()}}", "sync.v1.{{name()}}.{{tag(t)}}"),
    subscribe=("_INBOX.{{name()}}.>", "hint.v1.{{name()}}"),
)
# Answers leave on the reply subjects that the service import rewrites to _R_.
SYNC: Final = Permissions(
    publish=(subjects.HINT_PATTERN, "_R_.>"),
    subscribe=(f"{subjects.SYNC_PATTERN} {subjects.SYNC_QUEUE}", f"_INBOX.{SYNC_RESPONDER}.>"),
)

SYSTEM_USER: Final = Permissions(
    publish=("$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP"),
    subscribe=(f"_INBOX.{SYSTEM}.>",),
)

CORE_USERS: Final = (SYNC_RESPONDER, *SERVICES)

KEYS: Final[Mapping[str, Kind]] = (
    {name: Kind.OPERATOR for name in ("operator", "operator-signer")}
    | {name: Kind.ACCOUNT for name in ("sys", "sys-signer", "core", "core-signer", "dev", "device-signer")}
    | depot_access.KEYS
    | {f"signer-{name}": Kind.ACCOUNT for name in CORE_USERS}
    | {f"user-{name}": Kind.USER for name in (SYSTEM, *CORE_USERS)}
)
"""Every key of the layout by name; a name new in a later version is generated at the next start.

Each user of CORE has a scoped signing key, so that its permissions stand in the account's claim and its token stays small:
a token with a service's permissions inside exceeds the 4 KiB line with which a client connects. `core-signer` signs
administrators and stays with the operator.
"""

_ACCOUNT_LIMITS: Final = {
    "subs": -1,
    "data": -1,
    "payload": -1,
    "imports": -1,
    "exports": -1,
    "wildcards": True,
    "conn": -1,
    "leaf": -1,
}
_JETSTREAM: Final = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}


@dataclass(frozen=True, slots=True)
class Layout:
    """The signed layout: what the server is given, and what each user connects with."""

    operator: str
    accounts: Mapping[str, str]
    """Account name -> its claim."""
    keys: Mapping[str, Nkey] = field(repr=False)
    issued_at: int

    def account(self, name: str) -> str:
        """The public key of an account: one of `ACCOUNTS`, or a depot's own."""
        return self.keys[name.lower()].public

    def credentials(self, user: str) -> Credentials:
        """How a service, the sync responder or `system` connects. Raises KeyError for an unknown user."""
        key = self.keys[f"user-{user}"]
        if user == SYSTEM:
            signer, account = self.keys["sys-signer"], self.account("SYS")
            token = claims.user(signer, account, key.public, user, SYSTEM_USER, issued_at=self.issued_at)
        else:
            signer, account = self.keys[f"signer-{user}"], self.account("CORE")
            token = claims.scoped_user(signer, account, key.public, user, issued_at=self.issued_at)
        return Credentials(token, key)

    def depot_credentials(self, depot: Depot) -> Mapping[str, Credentials]:
        """How a depot's broker connects: `core`, `own`, `sys`. Raises KeyError for a depot that the layout was not told of."""
        return depot_access.credentials(self.keys, depot, issued_at=self.issued_at)

    def administrator(self, public: str, name: str, *, issued_at: int, expires_at: int) -> str:
        """A token for a person who must repair CORE: every subject of it, for a short time."""
        everything = Permissions((">",), (), (">",))
        return claims.user(
            self.keys["core-signer"],
            self.account("CORE"),
            public,
            name,
            everything,
            issued_at=issued_at,
            expires_at=expires_at,
        )

    def device_token(
        self, login_public: str, device: str, technician: str, *, issued_at: int, hours: int = TOKEN_HOURS_MIN
    ) -> str:
        """A device's session token. Raises ValueError for an id that could own another's subject, or wrong hours."""
        if not TOKEN_HOURS_MIN <= hours <= TOKEN_HOURS_MAX:
            raise ValueError(f"a session token lives {TOKEN_HOURS_MIN} to {TOKEN_HOURS_MAX} hours, not {hours}")
        return claims.scoped_user(
            self.keys["device-signer"],
            self.account("DEV"),
            login_public,
            subjects.checked_id(device),
            tags=(f"t:{subjects.checked_id(technician)}",),
            issued_at=issued_at,
            expires_at=issued_at + hours * 3600,
        )


def layout(
    keys: Mapping[str, Nkey],
    *,
    issued_at: int,
    revocations: Mapping[str, Mapping[str, int]] | None = None,
    depots: Sequence[Depot] = (),
) -> Layout:
    """The whole layout, signed. `revocations` (account name -> user public key -> seconds) are carried over."""
    revoked = revocations or {}
    operator = claims.operator(
        keys["operator"],
        "zone-blanche",
        system_account=keys["sys"].public,
        signing_keys=[keys["operator-signer"].public],
        issued_at=issued_at,
    )
    bodies = {"SYS": _system(keys), "CORE": _core(keys), "DEV": _devices(keys)}
    bodies |= {depot.account: {"limits": _ACCOUNT_LIMITS, **depot_access.account(keys, depot)} for depot in depots}
    accounts = {
        name: claims.encode(
            keys["operator-signer"],
            keys[name.lower()].public,
            name,
            Kind.ACCOUNT,
            body | ({"revocations": dict(revoked[name])} if revoked.get(name) else {}),
            issued_at=issued_at,
        )
        for name, body in bodies.items()
    }
    return Layout(operator, accounts, keys, issued_at)


def service_permissions(service: str) -> Permissions:
    """The least that a service needs: its own subjects, the streams it owns, its own consumers, its own inbox."""
    access = ACCESS[service]
    publish = [*access.publishes, subjects.deadletter(service), "$JS.API.INFO"]
    for stream in dict.fromkeys((*subjects.STREAMS, *access.owns)):
        publish.append(f"$JS.API.STREAM.INFO.{stream.name}")
    for stream in access.owns:
        publish += [f"$JS.API.STREAM.{verb}.{stream.name}" for verb in ("CREATE", "UPDATE", "MSG.GET")]
        publish += [f"$JS.API.DIRECT.GET.{stream.name}", f"$JS.API.DIRECT.GET.{stream.name}.>"]
    for stream in access.consumes:
        publish += _consumer_subjects(stream.name, service)
    for stream in access.consumes_alone:
        publish += [*_consumer_subjects(stream.name, "*"), f"$JS.API.CONSUMER.DELETE.{stream.name}.*"]
    return Permissions(publish, access.publishes_not, (f"_INBOX.{service}.>", *access.hears))


def revocations_of(account: Claims) -> Mapping[str, int]:
    """The revoked users of an account's claim."""
    return {str(key): int(at) for key, at in account.nats.get("revocations", {}).items()}


def _consumer_subjects(stream: str, durable: str) -> Sequence[str]:
    # Where several services read, the consumer is named as its service, so that none can take or acknowledge another's messages.
    return [
        f"$JS.API.CONSUMER.CREATE.{stream}.{durable}",
        f"$JS.API.CONSUMER.CREATE.{stream}.{durable}.>",
        f"$JS.API.CONSUMER.INFO.{stream}.{durable}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.API.DIRECT.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}.>",
        f"$JS.API.STREAM.MSG.GET.{stream}",
        f"$JS.ACK.{stream}.{durable}.>",
        # The server's newer reply format: domain (or `_`) and account hash stand before the stream.
        f"$JS.ACK.*.*.{stream}.{durable}.>",
    ]


def _system(keys: Mapping[str, Nkey]) -> dict[str, Any]:
    return {"limits": _ACCOUNT_LIMITS, "signing_keys": [keys["sys-signer"].public]}


def _core(keys: Mapping[str, Nkey]) -> dict[str, Any]:
    roles = {SYNC_RESPONDER: SYNC} | {service: service_permissions(service) for service in SERVICES}
    scopes = [
        claims.scope(keys[f"signer-{role}"].public, role, may, subscriptions_max=-1, payload_bytes_max=-1)
        for role, may in roles.items()
    ]
    return {
        "limits": _ACCOUNT_LIMITS | _JETSTREAM,
        "exports": [
            {"name": "field", "subject": subjects.FIELD.subjects[0], "type": "service", "response_type": "Singleton"},
            {"name": "sync", "subject": subjects.SYNC_PATTERN, "type": "service", "response_type": "Singleton"},
            {"name": "hint", "subject": subjects.HINT_PATTERN, "type": "stream"},
        ],
        "signing_keys": [keys["core-signer"].public, depot_access.core_scope(keys), *scopes],
    }


def _devices(keys: Mapping[str, Nkey]) -> dict[str, Any]:
    device = claims.scope(
        keys["device-signer"].public,
        "device",
        DEVICE,
        subscriptions_max=DEVICE_SUBSCRIPTIONS_MAX,
        payload_bytes_max=DEVICE_PAYLOAD_BYTES_MAX,
    )
    core = keys["core"].public
    return {
        "limits": _ACCOUNT_LIMITS,
        "imports": [
            {"name": "field", "subject": subjects.FIELD.subjects[0], "account": core, "type": "service"},
            {"name": "sync", "subject": subjects.SYNC_PATTERN, "account": core, "type": "service"},
            {"name": "hint", "subject": subjects.HINT_PATTERN, "account": core, "type": "stream"},
        ],
        "signing_keys": [device],
    }
