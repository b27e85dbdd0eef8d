"""`audit browse`: an intervention in the terminal, for an auditor at the ledger's own machine. It reads, and changes nothing.

It reads the database as the other audit commands do, once, when it begins; that is an entry in the access log, with the purpose
that the person names. What the pages say is `pages`' matter.
"""

from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Header, Static, TabbedContent, TabPane, Tabs

from field_ingest.audit import dossier
from field_ingest.audit.explain import HISTORY_ROWS_MAX, current_state, stream_of
from field_ingest.audit.pages import PAGES, WORDS, Dossier, pages
from zb_chassis import access_log
from zb_chassis.clock import Clock
from zb_chassis.database import Pool
from zb_chassis.identity import Principal
from zb_contracts.merge.state import InterventionState
from zb_contracts.merge.wording import Language

ENTRIES_MAX: Final = 10_000
"""Events that the view holds; of more the first are shown, and the title says so."""


class Browser(App[None]):
    """The view of one dossier."""

    CSS = """
    DataTable { height: 2fr; }
    .whole { height: 1fr; border-top: solid $primary; padding: 0 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"page('{name}')", name) for number, name in enumerate(PAGES, 1)),
        Binding("l", "language", "language"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, dossier: Dossier, language: Language) -> None:
        super().__init__()
        self._dossier, self._language, self._details = dossier, language, dict[str, list[str]]()
        self._name_keys()

    def compose(self) -> ComposeResult:
        yield Header()
        with TabbedContent(initial=PAGES[0]):
            for name in PAGES:
                with TabPane(WORDS[name][self._language], id=name):
                    yield DataTable(id=f"{name}-table", cursor_type="row", zebra_stripes=True)
                    with VerticalScroll(classes="whole"):
                        yield Static(id=f"{name}-whole", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self._fill()
        self.query_one(f"#{PAGES[0]}-table").focus()

    def action_page(self, name: str) -> None:
        self.query_one(TabbedContent).active = name
        self.query_one(f"#{name}-table").focus()

    def action_language(self) -> None:
        self._language = "en" if self._language == "fr" else "fr"
        self._name_keys()
        self._fill()
        self.refresh_bindings()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        name = (event.data_table.id or "").removesuffix("-table")
        details = self._details.get(name, [])
        if event.cursor_row < len(details):
            self.query_one(f"#{name}-whole", Static).update(details[event.cursor_row])

    def _name_keys(self) -> None:
        """The footer names the keys in the language of the pages."""
        for name, key in (*((name, str(number)) for number, name in enumerate(PAGES, 1)), ("language", "l"), ("quit", "q")):
            action = f"page('{name}')" if name in PAGES else name
            self._bindings.key_to_bindings[key] = [Binding(key, action, WORDS[name][self._language])]

    def _fill(self) -> None:
        self.title, tabs = self._dossier.title, self.query_one(TabbedContent)
        for name, page in pages(self._dossier, self._language).items():
            tabs.get_tab(name).label = WORDS[name][self._language]
            table = self.query_one(f"#{name}-table", DataTable)
            self._details[name] = page.details
            table.clear(columns=True)
            table.add_columns(*page.columns)
            for row in page.rows:
                table.add_row(*(Text(cell) for cell in row))
            whole = page.details[0] if page.details else WORDS["nothing"][self._language]
            self.query_one(f"#{name}-whole", Static).update(whole)
        self.query_one(Tabs).refresh(layout=True)


async def read_dossier(pool: Pool, name: str, reader: Principal, clock: Clock) -> Dossier:
    """Everything of one intervention (its number, its id, or any stream), noted in the access log first. INPUT_NOT_FOUND."""
    async with pool.acquire() as connection:
        stream = await stream_of(connection, name)
        state = (await current_state(connection, stream)).state
    await access_log.record(pool, reader, "audit browse", stream, at_ms=clock())
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        entries: list[dict[str, Any]] = []
        after = (-1, -1)
        while len(entries) < ENTRIES_MAX and (page := await dossier.timeline(connection, stream, after=after)):
            entries += page
            after = (page[-1]["shard"], page[-1]["position"])
            if len(page) < HISTORY_ROWS_MAX:
                break
        reference = state.fields.get("reference") if isinstance(state, InterventionState) else None
        return Dossier(
            stream=stream,
            title=f"{reference.value if reference else stream} ({len(entries)}{'+' if len(entries) >= ENTRIES_MAX else ''})",
            entries=entries,
            decisions={
                "fr": await dossier.set_aside(connection, state, "fr"),
                "en": await dossier.set_aside(connection, state, "en"),
            },
            files=dossier.evidence(state),
            checkpoints=await dossier.proofs(connection, [(entry["shard"], entry["position"]) for entry in entries]),
        )
