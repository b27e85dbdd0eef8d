"""The transparency log over HTTP: checkpoints, tiles and proofs, as C2SP's tlog-tiles and RFC 6962 have them.

What it gives is hashes and verdicts, never a body; still it is for auditors, because it says how much is recorded, and when.
"""

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from field_ingest.ledger import tree
from field_ingest.ledger.checkpoints import Checkpoints, StoredCheckpoint
from field_ingest.ledger.ledger_keys import LedgerKeys
from field_ingest.proof.logs import logs_of
from field_ingest.proof.tiles import NoSuchTile, read_entries, read_tile, tile_at
from field_ingest.proof.witnessing import cosignatures
from zb_chassis.database import Pool
from zb_chassis.identity import Principal, Role, allow
from zb_contracts.problems import INPUT_INVALID, INPUT_NOT_FOUND, Problem

IMMUTABLE = {"Cache-Control": "private, immutable, max-age=31536000"}

Auditor = Annotated[Principal, allow(Role.AUDITOR, Role.SERVICE)]
Shard = Annotated[int, Path(ge=0, le=1_000)]
Size = Annotated[int | None, Query(ge=1, le=2**53 - 1)]
Number = Annotated[int, Query(ge=0, le=2**53 - 1)]


def log_router(pool: Pool, checkpoints: Checkpoints, keys: LedgerKeys) -> APIRouter:
    """The endpoints of every shard's log."""
    routes = APIRouter(prefix="/v1/log", tags=["log"])
    _heads(routes, pool, checkpoints, keys)
    _tiles(routes, pool, checkpoints)
    _proofs(routes, pool, checkpoints)
    return routes


def _heads(routes: APIRouter, pool: Pool, checkpoints: Checkpoints, keys: LedgerKeys) -> None:
    @routes.get("")
    async def logs(_: Auditor) -> list[dict[str, Any]]:
        """The logs, one a shard: origin, rows, and the verifier keys that witnesses and auditors pin."""
        return await logs_of(pool, keys)

    @routes.get("/{shard}/checkpoint")
    async def checkpoint(shard: Shard, _: Auditor) -> Response:
        """The newest checkpoint (C2SP tlog-checkpoint) with the cosignatures of its witnesses."""
        head = await _head(pool, checkpoints, shard)
        note = head.note + await cosignatures(pool, shard, head.size)
        return Response(note, media_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-cache"})

    @routes.get("/{shard}/witnessed")
    async def witnessed(shard: Shard, _: Auditor) -> Response:
        """The newest checkpoint that a witness cosigned."""
        row = await pool.fetchrow(
            """
            SELECT size, note FROM checkpoints c WHERE shard = $1
                AND EXISTS (SELECT 1 FROM cosignatures s WHERE s.shard = c.shard AND s.size = c.size)
            ORDER BY size DESC LIMIT 1
            """,
            shard,
        )
        if row is None:
            raise Problem(INPUT_NOT_FOUND, what="witnessed checkpoint of shard", id=shard)
        return Response(row["note"] + await cosignatures(pool, shard, row["size"]), media_type="text/plain; charset=utf-8")


def _tiles(routes: APIRouter, pool: Pool, checkpoints: Checkpoints) -> None:
    @routes.get("/{shard}/tile/{path:path}")
    async def tile(shard: Shard, path: Annotated[str, Path(max_length=100)], _: Auditor) -> Response:
        """A tile of hashes, or with `entries/` in place of a level a bundle of leaves (C2SP tlog-tiles)."""
        head = await _head(pool, checkpoints, shard)
        is_entries = path.startswith("entries/")
        try:
            one = tile_at(f"tile/{path.replace('entries/', '0/', 1) if is_entries else path}")
            async with pool.acquire() as connection:
                data = await (read_entries if is_entries else read_tile)(connection, shard, one, head.size)
        except NoSuchTile as fault:
            raise Problem(INPUT_NOT_FOUND, what="tile", id=path) from fault
        return Response(data, media_type="application/octet-stream", headers=IMMUTABLE)


def _proofs(routes: APIRouter, pool: Pool, checkpoints: Checkpoints) -> None:
    @routes.get("/{shard}/inclusion")
    async def inclusion(shard: Shard, position: Number, _: Auditor, size: Size = None) -> dict[str, Any]:
        """The audit path (RFC 6962) of a row in the tree at `size` rows, by default the newest checkpoint's."""
        at = await _size(pool, checkpoints, shard, size)
        if position >= at:
            raise _beyond("position", at)
        async with pool.acquire() as connection:
            [path] = await tree.inclusion_proofs(connection, shard, [position], at)
        return {"shard": shard, "position": position, "size": at, "proof": _encoded(path)}

    @routes.get("/{shard}/consistency")
    async def consistency(shard: Shard, old: Number, _: Auditor, size: Size = None) -> dict[str, Any]:
        """The proof (RFC 6962) that the tree at `size` rows only adds to the one at `old` rows."""
        at = await _size(pool, checkpoints, shard, size)
        if not 0 < old <= at:
            raise _beyond("old", at)
        async with pool.acquire() as connection:
            proof = await tree.consistency_proof(connection, shard, old, at)
        return {"shard": shard, "old": old, "size": at, "proof": _encoded(proof)}


async def _head(pool: Pool, checkpoints: Checkpoints, shard: int) -> StoredCheckpoint:
    head = await checkpoints.current(pool, shard)
    if head is None:
        raise Problem(INPUT_NOT_FOUND, what="checkpoint of shard", id=shard)
    return head


async def _size(pool: Pool, checkpoints: Checkpoints, shard: int, size: int | None) -> int:
    head = await _head(pool, checkpoints, shard)
    if size is not None and size > head.size:
        raise _beyond("size", head.size)
    return size or head.size


def _beyond(field: str, size: int) -> Problem:
    return Problem(INPUT_INVALID, errors=({"field": field, "reason": f"it is not within the {size} rows of the log"},))


def _encoded(hashes: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]
