"""The page says every field, every cell of the cancel table and every code."""

from zb_contracts.fields import FIELDS
from zb_contracts.merge import rules
from zb_contracts.merge.cancellation import TABLE
from zb_contracts.merge.page import merge_page


def test_the_page_names_everything_that_the_rules_know() -> None:
    page = merge_page()
    codes = {row.name for row in FIELDS.values()} | {cell.code for cell in TABLE.values()}
    codes |= rules.RULE_CODES | rules.FLAG_CODES | rules.CONFLICT_CODES
    assert {code for code in codes if f"`{code}`" not in page} == set()


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    counts: set[int] = set()
    for line in merge_page().split("\n"):
        if line.startswith("|"):
            counts.add(line.count(" | "))
            assert len(counts) == 1, line
        else:
            counts.clear()
