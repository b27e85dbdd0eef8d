"""What a simulation calls lost, and how the tallies of several processes become one."""

import pytest

from zb.simulation.processes import shares
from zb.simulation.report import compared, merged, quantile


def head(author: str, seq: int, end: str) -> dict[str, object]:
    return {"author": author, "seq": seq, "header_sha256": end}


def mark(author: str, seq: int, end: str) -> dict[str, object]:
    return {"author": author, "mark": seq, "head_sha256": end}


def test_lost_is_what_the_ledger_lacks_and_a_chain_that_ends_in_another_event() -> None:
    heads = [head("anna", 40, "aa"), head("ben", 40, "bb"), head("chloe", 40, "cc")]
    whole = compared(heads, [mark("anna", 40, "aa"), mark("ben", 40, "bb"), mark("chloe", 40, "cc")])
    assert (whole.devices, whole.events, whole.lost, whole.other_ends) == (3, 120, 0, 0)
    behind = compared(heads, [mark("anna", 33, "a3"), mark("ben", 40, "bb"), mark("chloe", 40, "xx")])
    assert (behind.lost, behind.other_ends) == (7, 1)


def test_the_tallies_of_two_processes_are_one() -> None:
    one = {"admitted": 3, "refused": {"event.fork": 1}, "to_receipt_ms": [5, 9]}
    other = {"admitted": 4, "refused": {"event.fork": 2, "event.id_taken": 1}, "to_receipt_ms": [7]}
    assert merged([one, other]) == {
        "admitted": 7,
        "refused": {"event.fork": 3, "event.id_taken": 1},
        "to_receipt_ms": [5, 9, 7],
    }


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)])
def test_a_quantile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert quantile([float(each) for each in range(1, 101)], share) == value


def test_every_device_has_a_process_and_the_whole_ones_are_together() -> None:
    parts = shares(7, 3, 4, seed=1, visits=2, at_once=5, ingest_url="", nats_url="", media_url="", folder="")
    assert [(one.first, one.devices, one.whole) for one in parts] == [(0, 3, 3), (3, 2, 0), (5, 2, 0)]
    assert [
        one.devices for one in shares(1, 3, 0, seed=1, visits=2, at_once=5, ingest_url="", nats_url="", media_url="", folder="")
    ] == [1]
