"""What administrators do with a device: suspend, resume, report lost, order a wipe, retire. One transaction an act.

Each is checked against the table (standing.py), and said in the ledger by `device.administered.v1`: who, what, why. What was done
already is done again without effect and without a word. A live session is not cut here: the cut is noted (cuts.py), the warden
makes it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from field_ingest.devices import cuts, inventory, standing, suspensions, wipes
from field_ingest.devices.inventory import Device
from field_ingest.devices.people import Administrator, Reach
from field_ingest.devices.standing import LOST, Act
from field_ingest.devices.suspensions import Suspension
from field_ingest.ids import uuid7
from field_ingest.ledger.keyring import INGEST
from field_ingest.ledger.postgres import PostgresTransaction
from field_ingest.ledger.signing import LedgerAuthor, Statement
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.events import Body
from zb_contracts.events.devices import DeviceAdministered, DeviceRevoked
from zb_contracts.problems import INPUT_INVALID, Problem

Cause = Literal["lost", "stolen", "retired", "replaced"]
NO_KEY: Final = "the device has no login key: it was never enrolled"


@dataclass(frozen=True, slots=True)
class Acted:
    """A device within its transaction."""

    connection: Connection
    device: Device


class Fleet:
    """Acts on devices. `clock` (perhaps a story's) dates the ledger, `real_clock` sessions, suspensions and orders."""

    def __init__(self, pool: Pool, signer: LedgerAuthor, *, clock: Clock, real_clock: Clock) -> None:
        self._pool = pool
        self._signer = signer
        self._clock = clock
        self._real_clock = real_clock

    async def suspend(self, device: str, administrator: Administrator, reason: str, *, for_s: int | None) -> Suspension:
        """The suspension that is in force now: a new one, for `for_s` seconds or until it is lifted, or the one that was."""
        async with self._acting(Act.SUSPEND, device, administrator) as acted:
            now_ms = self._real_clock()
            until_ms = None if for_s is None else now_ms + for_s * 1000
            new = Suspension("administrator", reason, administrator.person, now_ms, until_ms)
            if await suspensions.begin(acted.connection, device, new) is not None:
                await self._say(acted, administrator, "suspended", reason)
            return (await suspensions.of(acted.connection, device))[0]

    async def resume(self, device: str, administrator: Administrator) -> bool:
        """Lift what is in force; whether anything was."""
        async with self._acting(Act.RESUME, device, administrator) as acted:
            by = administrator.person
            lifted = await suspensions.end(acted.connection, device, now_ms=self._real_clock(), lifted_by=by)
            if lifted:
                await self._say(acted, administrator, "resumed", None)
            return lifted

    async def revoke(self, device: str, administrator: Administrator, cause: Cause, reason: str | None) -> list[str]:
        """Hold what every incarnation of the device signs from now on, and cut its sessions; all its authors."""
        act = Act.LOSE if cause in LOST else Act.RETIRE
        async with self._acting(act, device, administrator) as acted:
            connection = acted.connection
            rows = await connection.fetch("SELECT author FROM authors WHERE device = $1 ORDER BY incarnation", device)
            names = [row["author"] for row in rows]
            await PostgresTransaction(connection).lock_authors([*names, INGEST])
            # Those that the device itself replaced are revoked now as well: a copy of an old store asks under their names.
            changed = await connection.fetch(
                """
                UPDATE authors SET revoked_at_ms = coalesce(revoked_at_ms, $2), revoked_cause = $3
                WHERE author = ANY ($1) AND revoked_cause IS DISTINCT FROM $3 RETURNING author
                """,
                names,
                self._clock(),
                cause,
            )
            await cuts.cut_device(connection, device, self._real_clock())
            fresh = sorted(row["author"] for row in changed)
            bodies = [DeviceRevoked(device=device, author=name, cause=cause, reason=reason) for name in fresh]
            if bodies:
                await self._say(acted, administrator, cause, reason, also=bodies)
            return names

    async def wipe(self, device: str, administrator: Administrator, reason: str, *, at_once: bool) -> wipes.Order:
        """The order that is in force now for the device's hardware. One that waits gives way to one that is to be at once."""
        async with self._acting(Act.WIPE, device, administrator) as acted:
            if not acted.device.login_key:
                raise Problem(INPUT_INVALID, errors=({"field": "device", "reason": NO_KEY},))
            hardware, now_ms = acted.device.login_key, self._real_clock()
            new = wipes.Order(uuid7(now_ms), device, hardware, at_once, reason, administrator.person, now_ms)
            placed = await wipes.place(acted.connection, new)
            if placed is new:
                await self._say(acted, administrator, "wipe_ordered", reason, order=new.order, at_once=at_once)
            return placed

    async def withdraw_wipe(self, device: str, administrator: Administrator) -> str | None:
        """Take the order back; its id, None where there was none. A device that has the order already goes on with it.

        That for the hardware in use first, else that for hardware which was replaced.
        """
        async with self._acting(Act.WITHDRAW, device, administrator) as acted:
            by, now_ms = administrator.person, self._real_clock()
            waiting = await wipes.waiting(acted.connection, device)
            hardware = acted.device.login_key if acted.device.login_key in waiting else next(iter(waiting), "")
            order = await wipes.withdraw(acted.connection, hardware, by=by, at_ms=now_ms)
            if order is not None:
                await self._say(acted, administrator, "wipe_withdrawn", None, order=order)
            return order

    async def suspensions(self, device: str, reach: Reach) -> list[Suspension]:
        """The device's suspensions, newest first. INPUT_NOT_FOUND."""
        async with self._pool.acquire() as connection:
            await inventory.found(connection, device, reach, real_ms=self._real_clock())
            return await suspensions.of(connection, device)

    @asynccontextmanager
    async def _acting(self, act: Act, device: str, administrator: Administrator) -> AsyncIterator[Acted]:
        """The device, locked, if it is within reach and the act is permitted. INPUT_NOT_FOUND, FLEET_STANDING."""
        async with transaction(self._pool) as connection:
            await cuts.lock_device(connection, device)
            found = await inventory.found(connection, device, administrator.reach, real_ms=self._real_clock())
            standing.check(act, device, found.facts)
            yield Acted(connection, found)

    async def _say(
        self, acted: Acted, administrator: Administrator, act: str, reason: str | None, *, also: Sequence[Body] = (), **said: Any
    ) -> None:
        """In the ledger, on the device's stream: who did what with it, and why; then what follows of it."""
        of = {"device": acted.device.device, "act": act, "by": administrator.person, "reason": reason}
        bodies = [DeviceAdministered.model_validate(of | said), *also]
        statements = [Statement(f"device:{acted.device.device}", body, actor=administrator.person) for body in bodies]
        await self._signer.state(PostgresTransaction(acted.connection), statements)
