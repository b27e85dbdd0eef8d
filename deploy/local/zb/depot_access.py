"""What a depot's broker may do at the hub: as data, for the accounts' claims. A depot is a leaf node with a store of its own.

It has three ways to the hub, each confined there, whatever the depot's own server does: in CORE it lends its store's API to the
hub and nothing else; in an account of its own it asks for its devices and hears their hints; in SYS it hears of new claims. It
keeps no keys and starts nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from zb_chassis import claims
from zb_chassis.claims import Credentials, Kind, Nkey, Permissions
from zb_contracts import subjects

DEVICES_MAX: Final = 1_000
"""Of one depot: two subjects each stand in its account's claim."""
MAKING_A_STORE: Final = tuple(f"$JS.*.API.STREAM.{verb}.{subjects.DEPOT.name}" for verb in ("INFO", "CREATE", "UPDATE"))
"""What field-ingest says to make or change a depot's store: over the leaf node, by the name of the store's domain."""

_IN_CORE: Final = Permissions(
    publish=("depot.v1.{{name()}}.>", "$JSC.R.>"),
    subscribe=("$JS.{{name()}}.API.>", "$JS.FC.>"),
)
_IN_SYS: Final = Permissions(
    publish=("$SYS.REQ.CLAIMS.PACK",),
    subscribe=("$SYS.REQ.CLAIMS.UPDATE", "$SYS._INBOX.*.>"),
)

KEYS: Final[dict[str, Kind]] = {"signer-depot": Kind.ACCOUNT}


@dataclass(frozen=True, slots=True)
class Depot:
    """A depot by its name (an id), and the devices for which it may ask. Others may leave their events there all the same."""

    name: str
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for one in (self.name, *self.devices):
            subjects.checked_id(one)
        if len(self.devices) > DEVICES_MAX:
            raise ValueError(f"a depot asks for {DEVICES_MAX} devices at most, not {len(self.devices)}")

    @property
    def account(self) -> str:
        """The depot's own account at the hub. It imports its devices' subjects from CORE, nobody else's."""
        return f"DEPOT-{self.name.upper()}"


def keys_of(depots: Iterable[Depot]) -> dict[str, Kind]:
    """The keys that these depots need beside `KEYS`, by name."""
    found: dict[str, Kind] = {}
    for depot in depots:
        own = depot.account.lower()
        found |= {own: Kind.ACCOUNT, f"signer-{own}": Kind.ACCOUNT, f"user-{own}": Kind.USER}
    return found


def core_scope(keys: Mapping[str, Nkey]) -> dict[str, Any]:
    """The scope of every depot's user in CORE; its name says which store is its."""
    return _scope(keys["signer-depot"], "depot", _IN_CORE)


def account(keys: Mapping[str, Nkey], depot: Depot) -> dict[str, Any]:
    """The body of the claim of a depot's own account, without its limits.

    The scope names the devices, too: with another list of devices the server closes the depot's connection. It must, because
    nats-server 2.15.1 takes what an account imports as a service back from its leaf nodes at the account's next claim, and tells
    only those that connect afterwards that it is there again (tried). DEV has a new claim at each revocation: no place for them.
    """
    core = {"account": keys["core"].public}
    asks = [f"sync.v1.{device}.*" for device in depot.devices]
    hints = [subjects.hint(device) for device in depot.devices]
    return {
        "imports": [
            *(core | {"name": subject, "subject": subject, "type": "service"} for subject in asks),
            *(core | {"name": subject, "subject": subject, "type": "stream"} for subject in hints),
        ],
        "signing_keys": [
            _scope(keys[f"signer-{depot.account.lower()}"], "depot", Permissions(asks, (), ("_INBOX.*.>", "hint.v1.*")))
        ],
    }


def credentials(keys: Mapping[str, Nkey], depot: Depot, *, issued_at: int) -> dict[str, Credentials]:
    """With what a depot's server comes to the hub: `core`, `own` and `sys`."""
    own = depot.account.lower()
    key = keys[f"user-{own}"]
    tokens = {
        "core": claims.scoped_user(keys["signer-depot"], keys["core"].public, key.public, depot.name, issued_at=issued_at),
        "own": claims.scoped_user(keys[f"signer-{own}"], keys[own].public, key.public, depot.name, issued_at=issued_at),
        "sys": claims.user(keys["sys-signer"], keys["sys"].public, key.public, depot.name, _IN_SYS, issued_at=issued_at),
    }
    return {name: Credentials(token, key) for name, token in tokens.items()}


def _scope(key: Nkey, role: str, may: Permissions) -> dict[str, Any]:
    return claims.scope(key.public, role, may, subscriptions_max=claims.NO_LIMIT, payload_bytes_max=claims.NO_LIMIT)
