"""Depots' stores: brokers that take segments while the way to the hub is down. Who makes them, and how what they hold comes here.

Each depot's broker is a leaf node with a JetStream domain of its own. The hub makes the stream DEPOT there and fetches it into
DEPOTS as a source: the broker counts, so each message comes once. Admission reads DEPOTS like FIELD. No process of ours runs at
a depot, and none here knows whether its way is up.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import TimeoutError as NoAnswer
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from zb_chassis.clock import Clock
from zb_chassis.streams import stream_config
from zb_contracts import subjects
from zb_contracts.subjects import DEPOT, DEPOTS

EVERY_S: Final = 30.0
"""Between two looks at a depot: after so long, at most, a store that was lost and is empty again is made again."""
ANSWER_TIMEOUT_S: Final = 5.0
NO_SUCH_STREAM: Final = 10059

log: Final = structlog.get_logger(__name__)


class DepotRefused(RuntimeError):
    """A depot's store did not do what it was asked; the message is its own."""


class _Fault(msgspec.Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class _Word(msgspec.Struct, frozen=True):
    """What a store's API answers, as far as it is read here. A depot's broker may answer anything."""

    error: _Fault | None = None
    config: dict[str, Any] = {}


_word: Final = msgspec.json.Decoder(_Word)


def names(text: str) -> tuple[str, ...]:
    """The depots of a setting like `lille,lyon`. ValueError for what is no id, or twice there."""
    found = tuple(subjects.checked_id(one.strip()) for one in text.split(",")) if text.strip() else ()
    if len(set(found)) != len(found):
        raise ValueError(f"a depot is named twice: {text}")
    return found


async def prepare_fetching(jetstream: JetStreamContext, depots: Sequence[str], transform: api.SubjectTransform) -> None:
    """Create or update DEPOTS, which fetches from all these depots and stores under the transformed subject.

    With a depot that was left out what it had not sent stays in its store.
    """
    config = stream_config(DEPOTS)
    config.subjects = None
    config.sources = [
        api.StreamSource(
            name=DEPOT.name,
            external=api.ExternalStream(api=f"$JS.{depot}.API", deliver=subjects.depot_way(depot)),
            subject_transforms=[transform],
        )
        for depot in depots
    ]
    try:
        await jetstream.stream_info(DEPOTS.name)
    except NotFoundError:
        await jetstream.add_stream(config)
    else:
        await jetstream.update_stream(config)


@dataclass(frozen=True, slots=True)
class Stores:
    """Sees to it that each depot has its store, whenever its way is up. Needs no answer from any of them to go on."""

    client: Client
    depots: Sequence[str]
    clock: Clock
    every_s: float = EVERY_S

    async def run(self, stop: asyncio.Event) -> None:
        """A look at every depot, again and again, until `stop` is set."""
        while self.depots and not stop.is_set():
            await asyncio.gather(*(self._look(depot) for depot in self.depots))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.every_s)

    async def _look(self, depot: str) -> None:
        try:
            if await self.ensure(depot):
                log.info("a depot's store was made", depot=depot)
        except NoAnswer:
            log.debug("a depot does not answer", depot=depot)
        except DepotRefused as fault:
            log.warning("a depot's store cannot be used", depot=depot, error=str(fault))

    async def ensure(self, depot: str) -> bool:
        """Make the depot's store, or bring it up to date; whether it was made. NoAnswer while its way is down, DepotRefused."""
        there = await self._ask(depot, "INFO", None)
        wanted = stream_config(DEPOT).as_dict()
        if there.error is not None and there.error.err_code == NO_SUCH_STREAM:
            # Numbers never come twice: what fetches would take those of a new store for what it has had of the lost one.
            _checked(await self._ask(depot, "CREATE", wanted | {"first_seq": self.clock()}))
            return True
        before = _checked(there).config
        if any(before.get(key) != value for key, value in wanted.items()):
            _checked(await self._ask(depot, "UPDATE", before | wanted))
        return False

    async def _ask(self, depot: str, verb: str, config: dict[str, Any] | None) -> _Word:
        """One word with the store's API. Its answer comes where the depot may publish: not to our inbox."""
        here = f"{subjects.depot_way(depot)}.word.{uuid4().hex}"
        answers = await self.client.subscribe(here, max_msgs=1)
        try:
            body = json.dumps(config).encode() if config else b""
            await self.client.publish(f"$JS.{depot}.API.STREAM.{verb}.{DEPOT.name}", body, reply=here)
            data = (await answers.next_msg(timeout=ANSWER_TIMEOUT_S)).data
            if not data:  # nobody listens: the way is down
                raise NoAnswer
            return _word.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            raise DepotRefused(f"what it answered is no store's word: {fault}") from fault
        finally:
            await answers.unsubscribe()


def _checked(answer: _Word) -> _Word:
    if answer.error is not None:
        raise DepotRefused(f"{answer.error.description} ({answer.error.err_code})")
    return answer
