"""The edge of a service's command line: what stops a command is one sentence and exit code 1, never a trace.

Only exceptions whose message says what to do are listed; anything else is a fault of ours and is shown as one.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import click

from zb_chassis.broker import BrokerLost, BrokerRefused
from zb_chassis.claims import ClaimError
from zb_chassis.collector import collect_rarely
from zb_chassis.database import DatabaseUnreachable
from zb_chassis.lifecycle import TaskDied
from zb_chassis.migrate import MigrationError
from zb_chassis.streams import StreamMissing

T = TypeVar("T")

SENTENCES: Final = (BrokerLost, BrokerRefused, ClaimError, DatabaseUnreachable, MigrationError, StreamMissing, TaskDied)


def run(work: Coroutine[Any, Any, T], *own: type[Exception]) -> T:
    """The work's result; the chassis' refusals and the service's `own` end the command with their sentence."""
    sentences: tuple[type[Exception], ...] = (*SENTENCES, *own)
    collect_rarely()
    try:
        return asyncio.run(work)
    except sentences as fault:
        raise click.ClickException(str(fault)) from fault
