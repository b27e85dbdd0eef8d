"""How the day is told: a timeline with the story's clock, then tables. Only this module prints."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from zb.play.promises import Promises

ACTORS = {
    "office": "cyan",
    "field": "green",
    "network": "magenta",
    "ledger": "blue",
    "hostile": "red",
    "media": "yellow",
    "billing": "bright_yellow",
    "audit": "bright_blue",
    "system": "white",
}


class Teller:
    """Tells the play on a console; a quiet one swallows everything (tests)."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def title(self, text: str, below: str) -> None:
        self.console.print(Panel(Text(below), title=f"[bold]{text}", title_align="left", border_style="green"))

    def chapter(self, text: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left")

    def tell(self, clock: str, actor: str, text: str) -> None:
        """One line of the timeline: story time, who, what."""
        line = Text.assemble((f"{clock:>5} ", "bold"), (f"{actor:<8} ", ACTORS.get(actor, "white")), text)
        self.console.print(line, soft_wrap=False)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", expand=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row))
        self.console.print()
        self.console.print(table)

    def verdict(self, promises: Promises) -> None:
        """What was promised and what was seen."""
        table = Table(title="Promised and seen", title_justify="left", title_style="bold", header_style="dim")
        for column in ("", "promised", "seen"):
            table.add_column(column, overflow="fold")
        for promise in promises.kept:
            mark = Text("held", "green") if promise.held else Text("BROKEN", "bold red")
            table.add_row(mark, Text(promise.text), Text(promise.seen))
        held = sum(promise.held for promise in promises.kept)
        self.console.print()
        self.console.print(table)
        self.console.print(f"{held} of {len(promises.kept)} promises held", style="bold", highlight=False)
