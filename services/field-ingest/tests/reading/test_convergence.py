"""A device that asks now and then, in small answers, ends with exactly the scope that the server has."""

import random
from typing import Any

import pytest

from zb_contracts import subjects
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.events.office import Assigned, InterventionCreated
from zb_contracts.events.places import SiteChanged
from zb_contracts.signed import verify_document
from zb_contracts.sync import ANSWER_TYPE, ScopeDelta, SyncRequest, pack, read_answer, unpack_document

SITES = 3
STEPS = 80


class Copy:
    """What a device holds of a scope: only what answers told it."""

    def __init__(self, company: Any, author: str) -> None:
        self.company, self.author = company, author
        self.responder = company.responder()
        self.documents: dict[str, bytes] = {}
        self.vectors: dict[str, dict[str, int]] = {}
        self.epoch, self.cursor, self.full, self.mark = "", 0, 0, 0

    async def ask(self) -> bool:
        request = SyncRequest(
            nonce="0" * 32,
            author=self.author,
            mark=self.mark,
            head=0,
            scope_epoch=self.epoch,
            scope_cursor=self.cursor,
            scope_count=len(self.documents),
            bytes_max=16 * 1024,
        )
        data = await self.responder.answer(subjects.sync("device-a", "camille"), pack(request))
        keys = {self.company.ledger_key.kid: self.company.ledger_key.public}
        answer = read_answer(verify_document(ANSWER_TYPE, unpack_document(data), keys))
        self.mark = max((receipt.seq for receipt in answer.receipts), default=self.mark)
        if answer.scope is not None:
            self.apply(answer.scope)
        return answer.more

    def apply(self, delta: ScopeDelta) -> None:
        assert delta.full or (delta.epoch == self.epoch and delta.cursor >= self.cursor)
        if delta.full:
            self.full += 1
            self.documents.clear()
        for document in delta.documents:
            if document.content is None:
                self.documents.pop(document.id, None)
                continue
            before = self.vectors.get(document.id, {})
            assert all(document.vector.get(author, 0) >= seq for author, seq in before.items())
            self.documents[document.id] = document.content
            self.vectors[document.id] = document.vector
        self.epoch, self.cursor = delta.epoch, delta.cursor
        assert delta.more or len(self.documents) == delta.count


@pytest.mark.parametrize(("company", "seed"), [(1, 1), (2, 2), (2, 3)], indirect=["company"])
async def test_a_copy_converges_whatever_happens_between_its_questions(
    company: Any, office: Any, camille: Any, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 a fixed order, no secret
    copy = Copy(company, camille.name)
    streams: list[str] = []

    async def one_step() -> None:
        match dice.choice(["create", "assign", "take away", "site", "comment", "comment"]):
            case "create":
                streams.append(f"intervention:00000000-0000-4000-8000-{len(streams):012x}")
                site = f"site-{dice.randrange(SITES)}"
                created = InterventionCreated(reference="W", kind="repair", title="leak", site=site, agency="main")
                await company.record(office, streams[-1], created)
            case "assign" if streams:
                await company.record(office, dice.choice(streams), Assigned(assignee="camille"))
            case "take away" if streams:
                await company.record(office, dice.choice(streams), Assigned(assignee=dice.choice(["dominique", "none"])))
            case "site":
                stream = f"site:site-{dice.randrange(SITES)}"
                await company.record(office, stream, SiteChanged(notes="mind the dog " * dice.randrange(1, 200)))
            case "comment" if streams:
                await company.record(camille, dice.choice(streams), CommentAdded(text="x" * dice.randrange(1, 3000)))

    for _ in range(STEPS):
        await one_step()
        if dice.random() < 0.7:
            await company.project()
        if dice.random() < 0.3:
            await copy.ask()
    await company.project()
    while await copy.ask():
        pass
    alive = await company.pool.fetch(
        """
        SELECT d.document, s.state FROM scope_document d JOIN states s ON s.stream = d.document
        WHERE d.technician = 'camille' AND d.state_hash IS NOT NULL
        """
    )
    assert copy.documents == {row["document"]: row["state"] for row in alive}
    assert len(copy.documents) > 3
    assert copy.full <= 2
