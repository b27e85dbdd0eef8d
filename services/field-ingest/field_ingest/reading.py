"""The read side put together: its background tasks and its endpoints, from what the process has opened.

Wiring only. `app.py` opens and closes the connections and runs the tasks.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter
from nats.aio.client import Client

from field_ingest import reading_api
from field_ingest.checkpoints import Checkpoints
from field_ingest.hints import Hints
from field_ingest.projecting import projector_task
from field_ingest.projector import Projector
from field_ingest.scope import ScopeLimits
from field_ingest.sync import SyncResponder
from field_ingest.sync_subscriber import sync_task
from zb_chassis.clock import Clock
from zb_chassis.database import Pool
from zb_chassis.lifecycle import Task
from zb_contracts.keys import SigningKey


@dataclass(frozen=True, slots=True)
class ReadSide:
    """What the process runs and serves."""

    tasks: Mapping[str, Task]
    router: APIRouter


def read_side(
    pool: Pool, sync_client: Client, key: SigningKey, checkpoints: Checkpoints, *, limits: ScopeLimits, clock: Clock
) -> ReadSide:
    """The projector, the sync responder and the hints as tasks, and the reading API.

    `sync_client` is a connection of the broker's user `field-ingest-sync`; `key` is the ledger's, it signs the answers.
    """
    hints = Hints(sync_client.publish)
    projector = Projector(limits=limits, clock=clock, new_epoch=_new_id)
    responder = SyncResponder(pool, key, checkpoints, clock=clock, new_id=_new_id)
    tasks = {
        "projector": projector_task(pool, projector, hints),
        "sync": sync_task(sync_client, responder),
        "hints": hints.run,
    }
    return ReadSide(tasks, reading_api.router(pool))


def _new_id() -> str:
    return str(uuid.uuid4())
