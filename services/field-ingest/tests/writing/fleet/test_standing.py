"""How a device stands: one word for every set of facts, the same in the database, and acts that are refused by name."""

from itertools import product
from typing import Any

import pytest

from field_ingest.devices.standing import PERMITTED, Act, Facts, Standing, Wipe, check
from zb_contracts.problems import FLEET_STANDING, Problem

CAUSES = (None, "lost", "stolen", "retired", "replaced", "suspended")


async def test_the_database_says_the_same_word_as_the_code(house: Any) -> None:
    for cause, is_suspended, wipe in product(CAUSES, (False, True), Wipe):
        said = await house.pool.fetchval("SELECT device_standing($1, $2, $3)", cause, is_suspended, wipe)
        assert said == Facts(cause, is_suspended, wipe).standing, (cause, is_suspended, wipe)


@pytest.mark.parametrize(
    ("facts", "standing"),
    [
        (Facts(), Standing.ACTIVE),
        (Facts(is_suspended=True), Standing.SUSPENDED),
        (Facts("stolen", is_suspended=True), Standing.LOST),
        (Facts("lost", wipe=Wipe.ORDERED), Standing.WIPING),
        (Facts(wipe=Wipe.ATTESTED, is_suspended=True), Standing.WIPED),
        (Facts("retired", wipe=Wipe.ORDERED), Standing.RETIRED),
    ],
)
def test_the_gravest_fact_gives_the_word(facts: Facts, standing: Standing) -> None:
    assert facts.standing is standing


def test_a_retired_device_is_only_retired_again_or_told_to_wipe_what_it_holds() -> None:
    assert {act for act in Act if Standing.RETIRED in PERMITTED[act]} == {Act.RETIRE, Act.WIPE}


def test_a_wiped_device_is_only_retired_or_made_anew() -> None:
    assert {act for act in Act if Standing.WIPED in PERMITTED[act]} == {Act.RETIRE, Act.REPLACE}


def test_what_the_table_does_not_have_is_refused_by_name() -> None:
    for act, standing in product(Act, Standing):
        facts = next(
            facts
            for facts in (Facts(*one) for one in product((None, "lost", "retired"), (False, True), Wipe))
            if facts.standing is standing
        )
        if standing in PERMITTED[act]:
            check(act, "d-1", facts)
            continue
        with pytest.raises(Problem, match=f"{act} is not possible: the device d-1 is {standing}") as refused:
            check(act, "d-1", facts)
        assert refused.value.kind is FLEET_STANDING
