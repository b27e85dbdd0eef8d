"""Which logs there are: what witnesses and auditors pin of each. Proofs and tiles are read elsewhere."""

from typing import Any

from field_ingest.ledger.ledger_keys import LedgerKeys
from zb_chassis.database import Pool


async def logs_of(pool: Pool, keys: LedgerKeys) -> list[dict[str, Any]]:
    """Shard, origin, rows and verifier keys of each log: the one that signs, and all that ever did, the newest first."""
    rows = await pool.fetch("SELECT shard, origin, size FROM shards ORDER BY shard")
    return [
        dict(row)
        | {
            "key": keys.signers(row["origin"])[0].verifier.to_text(),
            "keys": [key.to_text() for key in keys.verifiers(row["origin"])],
        }
        for row in rows
    ]
