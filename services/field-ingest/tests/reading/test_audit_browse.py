"""The auditor's view in the terminal: driven by its keys, read as the text that stands on the screen, in both languages."""

import html
import re
from typing import Any

import pytest
from textual.pilot import Pilot

from field_ingest.audit.browse import Browser, read_dossier
from field_ingest.audit.pages import PAGES, WORDS, Dossier
from zb_chassis.identity import Principal, Role
from zb_contracts.events.fieldwork import CommentAdded, PhotoTaken
from zb_contracts.events.office import DetailsChanged, InterventionCreated
from zb_contracts.events.values import File
from zb_contracts.problems import Problem

BOILER = "11111111-1111-4111-8111-111111111111"
READER = Principal("terminal:alix", frozenset({Role.AUDITOR}), frozenset({"*"}), "complaint 114")
SIZE = (170, 40)


@pytest.fixture
async def dossier(company: Any, office: Any, camille: Any) -> Dossier:
    second, stream = await company.hire("office-other", "office"), f"intervention:{BOILER}"
    created = InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    await company.record(office, stream, created)
    await company.admit(
        company.write(office, stream, DetailsChanged(title="boiler room")),
        company.write(second, stream, DetailsChanged(title="boiler house")),
    )
    await company.record(camille, stream, CommentAdded(text="it leaks [bold]here[/bold]"))
    photo = PhotoTaken(file=File(sha256="ab" * 32, length_bytes=10, mime="image/jpeg"), source="camera")
    await company.record(camille, stream, photo)
    await company.project()
    await company.checkpoints.current(company.pool, 0)
    return await read_dossier(company.pool, "W-1", READER, company.clock)


async def screen(pilot: Pilot[None]) -> str:
    """What stands on the screen, line by line."""
    await pilot.pause()
    drawn = re.findall(r"<text[^>]*y=\"([0-9.]+)\"[^>]*>([^<]*)</text>", pilot.app.export_screenshot())
    lines: dict[float, str] = {}
    for y, text in drawn:
        lines[float(y)] = lines.get(float(y), "") + html.unescape(text).replace("\xa0", " ")
    return "\n".join(lines[y] for y in sorted(lines))


async def test_an_auditor_walks_through_the_pages(dossier: Dossier) -> None:
    async with Browser(dossier, "en").run_test(size=SIZE) as pilot:
        text = await screen(pilot)
        assert "W-1 (5)" in text
        for word in ("device's clock", "anchored time", "received", "office-other", "intervention.photo_taken.v2", "Quit"):
            assert word in text, text
        await pilot.press("down", "down", "down")
        text = await screen(pilot)
        assert "knew: office-main 2, office-other 1" in text, text
        assert "it leaks [bold]here[/bold]" in text, "signed content is never markup"
        await pilot.press("2")
        text = await screen(pilot)
        assert "boiler house" in text, text
        assert "boiler room" in text, text
        await pilot.press("3")
        assert "ab" * 32 in await screen(pilot)
        await pilot.press("4")
        text = await screen(pilot)
        assert "signed head" in text
        assert "zone-blanche.test/ledger/0" in text
        await pilot.press("q")
    assert pilot.app.return_code == 0


async def test_the_language_changes_in_place(dossier: Dossier) -> None:
    async with Browser(dossier, "fr").run_test(size=SIZE) as pilot:
        french = await screen(pilot)
        assert all(WORDS[page]["fr"] in french for page in PAGES), french
        assert "Quitter" in french
        await pilot.press("l")
        english = await screen(pilot)
        assert all(WORDS[page]["en"] in english for page in PAGES), english
        assert "Quitter" not in english


async def test_opening_it_is_in_the_access_log_and_what_is_unknown_is_named(dossier: Dossier, company: Any) -> None:
    noted = await company.pool.fetch("SELECT reader, purpose, action, object FROM chassis.access_log")
    assert [tuple(row) for row in noted] == [("terminal:alix", "complaint 114", "audit browse", f"intervention:{BOILER}")]
    with pytest.raises(Problem) as unknown:
        await read_dossier(company.pool, "W-9", READER, company.clock)
    assert unknown.value.code == "input.not_found"
