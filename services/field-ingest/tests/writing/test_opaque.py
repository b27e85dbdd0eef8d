"""What no rule of today reads is admitted, kept, and judged by the rule that learns it: who may write it, and on which stream."""

from typing import Any

import pytest

from field_ingest.admission.admitting import Done
from zb_contracts import canonical
from zb_contracts.events import AuthorKind, Body
from zb_contracts.events import registry as register
from zb_contracts.events.registry import DEVICE, OFFICE, EventType, written_body
from zb_contracts.merge import fold as folds
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.fold import Rules, fold
from zb_contracts.merge.headers import merge_header

DREAM, CANCEL, COMMENT = "intervention.dreamt_of.v1", "intervention.cancelled.v9", "intervention.comment_added.v9"
LATER = 90


class Dreamt(Body):
    """Something that a later version of the contracts has a word for."""

    text: str


def learn(monkeypatch: pytest.MonkeyPatch, name: str, writers: frozenset[AuthorKind]) -> None:
    """The contracts of a later release: they know `name`, and rules LATER read it."""
    kind = EventType(name, Dreamt, writers, frozenset({"intervention"}))
    monkeypatch.setitem(register.EVENT_TYPES, name, kind)
    monkeypatch.setitem(register._BY_MODEL, Dreamt, kind)
    newest = folds.RULES[max(folds.RULES)]
    monkeypatch.setitem(folds.RULES, LATER, Rules(folds=newest.folds, types=newest.types | {name}))


async def folded(house: Any, pen: Any, kind: AuthorKind, rule_version: int) -> list[tuple[str, str]]:
    """What these rules could not read of the author's admitted events: (type, reason)."""
    rows = [row for row in await house.rows(pen) if row["kind"] == "admitted"]
    events = [MergeEvent(merge_header(row["header"]), written_body(row["type"], row["body"]), kind) for row in rows]
    return [(one.type, one.reason) for one in fold(rows[0]["stream"], events, rule_version).unknown]


@pytest.mark.parametrize(
    ("name", "writers", "reads"),
    [(DREAM, DEVICE, True), (DREAM, OFFICE, False), (COMMENT, DEVICE, True), (COMMENT, OFFICE, False), (CANCEL, OFFICE, False)],
)
async def test_a_type_that_a_later_rule_learns_is_read_from_who_may_write_it_and_from_nobody_else(
    house: Any, leaky: Any, monkeypatch: pytest.MonkeyPatch, name: str, writers: frozenset[AuthorKind], reads: bool
) -> None:
    assert await house.deliver(leaky, [leaky.write(name, b'{"text":"of a dry cellar"}'), leaky.write()]) == Done(admitted=2)
    [first, _] = await house.rows(leaky)
    assert "unknown" in canonical.decode(first["facts"])["opaque"]
    assert await folded(house, leaky, AuthorKind.DEVICE, max(folds.RULES)) == [(name, "unknown_type")]

    today = max(folds.RULES)
    learn(monkeypatch, name, writers)
    later = await folded(house, leaky, AuthorKind.DEVICE, LATER)
    assert later == ([] if reads else [(name, "not_this_author")])
    # What was decided by the old rules stays as it was.
    assert await folded(house, leaky, AuthorKind.DEVICE, today) == [(name, "unknown_type")]


async def test_once_the_door_knows_a_type_it_refuses_who_may_not_write_it(
    house: Any, leaky: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(monkeypatch, DREAM, OFFICE)
    assert await house.deliver(leaky, [leaky.write(DREAM, b'{"text":"of a dry cellar"}')]) == Done(refused=1)


async def test_a_body_that_no_schema_reads_is_kept_whole_and_changes_no_field(house: Any, leaky: Any) -> None:
    body = b'{"text":17,"volume":"loud"}'
    assert await house.deliver(leaky, [leaky.write(body=body)]) == Done(admitted=1)
    [row] = await house.rows(leaky)
    assert row["body"] == body
    assert await folded(house, leaky, AuthorKind.DEVICE, max(folds.RULES)) == [
        ("intervention.comment_added.v1", "unreadable_body")
    ]
