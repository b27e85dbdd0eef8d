"""The documentation page of the merge rules, made of the tables that the code runs on: fields, cancel table, words.

It returns Markdown; where the page is written and checked for staleness is the generator's matter.
"""

from collections.abc import Iterable, Mapping, Sequence

from zb_contracts.envelope import STREAM_KINDS
from zb_contracts.fields import FIELDS, Field, FieldClass
from zb_contracts.merge import phrases, wording
from zb_contracts.merge.cancellation import COLUMNS, ROWS, TABLE, Cell
from zb_contracts.merge.state import RULE_VERSION
from zb_contracts.merge.wording import Language

_CLASSES = {
    FieldClass.VISIT_FACT: "kept per visit; only the field writes; an office edit is a request, a correction lies beside",
    FieldClass.LINE: "a set of lines; a change is a new version, a removal a void; nothing leaves the set",
    FieldClass.OFFICE: "the office stands; a field proposal is a request, or stands where the plan's policy says so",
    FieldClass.SHARED: "both sides write; among writes that no write knew, the field's stand",
    FieldClass.STOCK: "movements only; the quantity is their exact sum",
    FieldClass.ASSIGNMENT: "the office's register alone; who holds the work follows from open visits",
}


def merge_page() -> str:
    """The whole page, in English with the French labels beside."""
    return "\n".join([f"# Merge rules, version {RULE_VERSION}", "", *_classes(), *_fields(), *_cancels(), *_words()])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows), ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _classes() -> list[str]:
    return ["## Classes of fields", "", *_table(("class", "rule"), ((f"`{key}`", rule) for key, rule in _CLASSES.items()))]


def _fields() -> list[str]:
    lines = []
    for kind in STREAM_KINDS:
        rows = [_field(row) for row in FIELDS.values() if row.stream_kind == kind]
        if rows:
            head = ("field", "class", "English", "French", "written by", "proposal may stand")
            lines += [f"## Fields of `{kind}:`", "", *_table(head, rows)]
    return lines


def _field(row: Field) -> tuple[str, ...]:
    written = ", ".join(f"`{name}`" for name in row.written_by)
    return f"`{row.name}`", row.field_class, row.english, row.french, written, "yes" if row.from_text else ""


def _cancels() -> list[str]:
    intro = "Column: what the visit's opening and the cancel knew of each other. Row: how far the visit came."
    rows = [[row, *(_cell(TABLE[column, row]) for column in COLUMNS)] for row in ROWS]
    return ["## Cancel meets visit", "", intro, "", *_table(("visit", *COLUMNS), rows)]


def _cell(cell: Cell) -> str:
    asked = f", asks the {cell.ask}" if cell.ask else ""
    return f"`{cell.code}`" if cell.code == "no_cancel" else f"`{cell.code}`: cancel {cell.cancel.replace('_', ' ')}{asked}"


def _words() -> list[str]:
    parts: tuple[tuple[str, Mapping[str, Mapping[Language, str]]], ...] = (
        ("Rules", wording.RULES),
        ("Verdicts", wording.VERDICTS),
        ("Flags of visits", wording.FLAGS),
        ("Conflicts", wording.CONFLICTS),
        ("Status", wording.STATUS),
        ("Lines", phrases.LINE),
        ("Requests", phrases.REQUEST),
        ("Corrections", phrases.CORRECTION),
        ("Events that are kept but not read", phrases.UNKNOWN),
    )
    lines = []
    for title, table in parts:
        rows = ((f"`{code}`", sentence["en"], sentence["fr"]) for code, sentence in table.items())
        lines += [f"## {title}", "", *_table(("code", "English", "French"), rows)]
    return lines
