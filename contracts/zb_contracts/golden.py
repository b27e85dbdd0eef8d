"""The golden corpus: signed events of every released version, with the state that each version of the rules makes of them.

The committed files under contracts/golden are what counts, and they hold for ever: an event that was once admitted must verify,
be read and fold to the same hash with every later program. This module reads them and makes *additions* (a type, a version of
the rules); it has no way to change what is there. Keys in it are public knowledge and must never sign anything else.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from zb_contracts import canonical
from zb_contracts.envelope import GENESIS, Anchor, Header, SignedEvent, check_signature, digest, parse_event, sign_event
from zb_contracts.events import EVENT_TYPES, AuthorKind
from zb_contracts.keys import SigningKey
from zb_contracts.merge.causality import MergeEvent, merge_event
from zb_contracts.merge.fold import RULES, fold
from zb_contracts.merge.state import State, state_hash

Story = dict[str, Any]
"""One file: the stream, its events in some order, and by version of the rules the state with its hash."""

ANCHOR: Final = Anchor(id="anchor-1", server_time="2026-03-16T08:00:00.000Z")
IDENTITY: Final = "0192f000-0000-7000-8000-000000000001"
OF_TYPES: Final = "types/"
"""Stories of one event, one for each released type."""


def key_of(author: str) -> SigningKey:
    """The author's key, made of its name."""
    return SigningKey.from_seed(hashlib.sha256(f"zone-blanche golden {author}".encode()).digest())


def additions(corpus: Mapping[str, Story], bodies: Mapping[str, Any]) -> dict[str, Story]:
    """The stories that lack something, completed: types without a story, and versions of the rules without a state.

    `bodies` has a sample of every type. Nothing that is there is written anew, not even where it is wrong by now.
    """
    missing = {f"{OF_TYPES}{name}": story_of_one(name, body) for name, body in bodies.items()}
    whole = {name: story for name, story in missing.items() if name not in corpus} | dict(corpus)
    return {name: completed(story) for name, story in whole.items() if name not in corpus or _lacks(story)}


def story_of_one(type_name: str, body: Any) -> Story:
    """A story of one event of this type, signed."""
    kind = EVENT_TYPES[type_name]
    writer = min(kind.writers)
    stream = f"{min(kind.stream_kinds)}:{IDENTITY}"
    data = canonical.encode(body)
    header = Header(
        id=IDENTITY,
        author=f"golden-{writer}",
        seq=1,
        prev=GENESIS,
        type=type_name,
        stream=stream,
        visit=IDENTITY if writer == AuthorKind.DEVICE else None,
        actor="tech-ana",
        token=None,
        at="2026-03-16T09:01:00.000Z",
        boot="boot-1",
        elapsed_ms=3_660_000,
        anchor=ANCHOR,
        seen={},
        body_sha256=digest(data),
        body_type="application/json",
    )
    return story([(sign_event(key_of(header.author), header, data), writer)])


def story(events: Iterable[tuple[SignedEvent, AuthorKind]]) -> Story:
    """A story of these events, all of one stream, signed with their authors' golden keys."""
    entries = [_entry(event, kind) for event, kind in events]
    stream: str = msgspec.json.decode(entries[0]["header"])["stream"]
    return completed({"stream": stream, "events": entries, "states": {}})


def completed(story: Story) -> Story:
    """The story with a state for each version of the rules; those that it has stay as they are."""
    events = verified(story)
    states = {str(version): _told(fold(story["stream"], events, version)) for version in RULES}
    return {**story, "states": {**states, **story["states"]}}


def verified(story: Story) -> list[MergeEvent]:
    """The story's events, read and verified. Problem where one does not verify."""
    events = []
    for entry in story["events"]:
        signed = SignedEvent(entry["header"].encode(), entry["body"].encode(), bytes.fromhex(entry["signature"]))
        parsed = parse_event(signed)
        check_signature(bytes.fromhex(entry["public"]), parsed)
        events.append(merge_event(parsed, AuthorKind(entry["author_kind"])))
    return events


def _entry(event: SignedEvent, kind: AuthorKind) -> dict[str, str]:
    author = parse_event(event).header.author
    return {
        "author_kind": kind.value,
        "public": key_of(author).public.hex(),
        "header": event.header.decode(),
        "body": event.body.decode(),
        "signature": event.signature.hex(),
    }


def _told(state: State) -> dict[str, Any]:
    return {"hash": state_hash(state), "state": msgspec.to_builtins(state)}


def _lacks(story: Story) -> bool:
    return {str(version) for version in RULES} > set(story["states"])
