"""What the bridge hears: merged states, evidence, price lists and contracts. Each message is one transaction.

Versions make every handler repeatable and indifferent to order; only the facts that billing needs are kept. It decides nothing
about billing, and it publishes nothing.
"""

import msgspec

from billing_bridge import store
from billing_bridge.facts import Proof, facts_of
from zb_chassis.database import Connection
from zb_contracts.announcements import (
    CONTRACTS,
    PRICE_LIST,
    ContractsPublished,
    EvidenceAnnounced,
    InterventionAnnounced,
    PriceListPublished,
)
from zb_contracts.merge.state import InterventionState


async def state_announced(connection: Connection, payload: bytes) -> None:
    """Keep the billed facts of a merged state. Raises a ValueError of its parser for what is no announcement."""
    announced = InterventionAnnounced.model_validate_json(payload)
    facts = facts_of(msgspec.convert(announced.state, InterventionState))
    await store.save_state(connection, announced.intervention, announced.version, facts)


async def evidence_announced(connection: Connection, payload: bytes) -> None:
    """Keep which photos and signatures are stored."""
    announced = EvidenceAnnounced.model_validate_json(payload)
    stored = [Proof(item.line, item.sha256) for item in announced.items if item.stored]
    await store.save_evidence(connection, announced.intervention, announced.version, stored)


async def reference_published(connection: Connection, kind: str, payload: bytes) -> None:
    """Keep a price list or an agency's contracts; `kind` is the CloudEvents type, others are not ours."""
    if kind == PRICE_LIST:
        await store.save_price_list(connection, PriceListPublished.model_validate_json(payload))
    elif kind == CONTRACTS:
        await store.save_contracts(connection, ContractsPublished.model_validate_json(payload))
