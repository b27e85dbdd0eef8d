"""The log over HTTP for auditors, and witnesses that cosign it: with real tiles, real proofs and a real witness beside it."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from field_ingest.proof.log_api import log_router
from field_ingest.proof.witnessing import Witness, WitnessesUnusable, WitnessFault, Witnessing, read_witnesses
from zb.witness import Witness as WitnessServer
from zb.witness_http import serve
from zb_chassis.http import application
from zb_chassis.identity import Principal, Role
from zb_contracts import merkle
from zb_contracts.cosignatures import cosigned_at
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.keys import SigningKey
from zb_contracts.notes import Checkpoint, NoteSigner, NoteVerifier, sign_checkpoint, verify_checkpoint

ORIGIN = "zone-blanche.test/ledger/0"
STREAM = "intervention:11111111-1111-4111-8111-111111111111"


class _Auditor:
    """Verifies no token: who calls is not what is tried here."""

    async def verify(self, _: str) -> Principal:
        return Principal("alix", frozenset({Role.AUDITOR}), frozenset({"*"}))


@pytest.fixture
async def log(company: Any) -> AsyncIterator[httpx.AsyncClient]:
    async def ready() -> None:
        return None

    app = application("field-ingest", [log_router(company.pool, company.checkpoints, company.ledger_keys)], ready=ready)
    app.state.verifier = _Auditor()
    headers = {"Authorization": "Bearer alix"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest/v1/log", headers=headers) as client:
        yield client


@pytest.fixture
async def grown(company: Any, camille: Any) -> Any:
    """A log of 300 rows."""
    await company.admit(*[company.write(camille, STREAM, CommentAdded(text=f"no {number}")) for number in range(300)])
    return company


@pytest.fixture
async def council(tmp_path: Path, company: Any) -> AsyncIterator[tuple[WitnessServer, Witness]]:
    """The works council's witness, listening."""
    server = WitnessServer.make(tmp_path / "witness", "council.example/witness")
    server.watch(NoteVerifier(ORIGIN, company.ledger_key.public))
    listening = socket.create_server(("127.0.0.1", 0))
    http = uvicorn.Server(uvicorn.Config(serve(server), log_config=None, lifespan="off"))
    serving = asyncio.create_task(http.serve([listening]))
    yield server, Witness(server.verifier, f"http://127.0.0.1:{listening.getsockname()[1]}")
    http.should_exit = True
    await serving


def unencoded(hashes: list[str]) -> list[bytes]:
    return [base64.b64decode(one) for one in hashes]


async def head_of(log: httpx.AsyncClient, company: Any) -> Checkpoint:
    answer = await log.get("/0/checkpoint")
    return verify_checkpoint(answer.text, ORIGIN, [NoteVerifier(ORIGIN, company.ledger_key.public)])


async def test_an_auditor_builds_the_root_from_tiles_and_entries(grown: Any, log: httpx.AsyncClient) -> None:
    head = await head_of(log, grown)
    assert head.size == 300
    full, partial = (await log.get("/0/tile/0/000")).content, (await log.get("/0/tile/0/001.p/44")).content
    leaves = [(full + partial)[at : at + 32] for at in range(0, 300 * 32, 32)]
    assert merkle.root_of(leaves) == head.root
    assert (await log.get("/0/tile/1/000.p/1")).content == merkle.root_of(leaves[:256])
    bundle, found = (await log.get("/0/tile/entries/001.p/44")).content, []
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        found.append(merkle.leaf_hash(bundle[2 : 2 + length]))
        bundle = bundle[2 + length :]
    assert found == leaves[256:]


async def test_proofs_verify_and_what_does_not_exist_is_refused_by_name(grown: Any, log: httpx.AsyncClient) -> None:
    head = await head_of(log, grown)
    full, partial = (await log.get("/0/tile/0/000")).content, (await log.get("/0/tile/0/001.p/44")).content
    leaves = [(full + partial)[at : at + 32] for at in range(0, 300 * 32, 32)]
    shown = (await log.get("/0/inclusion", params={"position": 290})).json()
    merkle.verify_inclusion(leaves[290], 290, 300, unencoded(shown["proof"]), head.root)
    grew = (await log.get("/0/consistency", params={"old": 77})).json()
    merkle.verify_consistency(77, 300, merkle.root_of(leaves[:77]), head.root, unencoded(grew["proof"]))
    for path, status in {
        "/0/tile/0/001": 404,
        "/0/tile/0/001.p/45": 404,
        "/0/tile/0/1": 404,
        "/0/tile/entries/002": 404,
        "/7/checkpoint": 404,
        "/0/inclusion?position=300": 422,
        "/0/consistency?old=0": 422,
        "/0/consistency?old=5&size=301": 422,
    }.items():
        answer = await log.get(path)
        assert (path, answer.status_code) == (path, status)
        assert answer.json()["code"].startswith("input.")


async def test_a_witness_cosigns_and_the_checkpoint_says_so(
    grown: Any, camille: Any, log: httpx.AsyncClient, council: tuple[WitnessServer, Witness]
) -> None:
    server, witness = council
    witnessing = Witnessing(grown.pool, grown.checkpoints, (witness,))
    assert (await log.get("/0/witnessed")).status_code == 404
    async with httpx.AsyncClient() as client:
        assert await witnessing.ask_all(client) == 1
        await grown.admit(grown.write(camille, STREAM, CommentAdded(text="one more")))
        assert await witnessing.ask_all(client) == 1
    note = (await log.get("/0/checkpoint")).text
    assert cosigned_at(note, witness.verifier) is not None
    assert verify_checkpoint(note, ORIGIN, [NoteVerifier(ORIGIN, grown.ledger_key.public)]).size == 301
    assert (await log.get("/0/witnessed")).text == note
    assert [(one.origin, one.size) for one in server.logs()] == [(ORIGIN, 301)]


async def test_a_log_that_lost_its_notes_goes_on_from_what_the_witness_saw(
    grown: Any, camille: Any, council: tuple[WitnessServer, Witness]
) -> None:
    witnessing = Witnessing(grown.pool, grown.checkpoints, (council[1],))
    async with httpx.AsyncClient() as client:
        await witnessing.ask_all(client)
        await grown.pool.execute("DELETE FROM cosignatures")
        await grown.admit(grown.write(camille, STREAM, CommentAdded(text="one more")))
        assert await witnessing.ask_all(client) == 1


async def test_another_history_is_an_alarm_and_gets_no_signature(grown: Any, council: tuple[WitnessServer, Witness]) -> None:
    """The ledger's operator showed the witness a longer history, and now goes on from a shorter or from another one."""
    server, witness = council
    witnessing = Witnessing(grown.pool, grown.checkpoints, (witness,))
    signer = NoteSigner(ORIGIN, grown.ledger_key)
    assert server.add(f"old 0\n\n{sign_checkpoint(Checkpoint(ORIGIN, 200, bytes(32)), signer)}".encode()).status == 200
    head = await grown.checkpoints.current(grown.pool, 0)
    async with httpx.AsyncClient() as client:
        with pytest.raises(WitnessFault, match="another history") as fault:
            await witnessing.ask(client, witness, head)
        assert fault.value.outcome == "split"
        assert await witnessing.ask_all(client) == 0
    assert await grown.pool.fetchval("SELECT count(*) FROM cosignatures") == 0


async def test_a_witness_that_is_away_or_signs_with_another_key_is_named(
    grown: Any, council: tuple[WitnessServer, Witness], tmp_path: Path
) -> None:
    other = WitnessServer.make(tmp_path / "other", "council.example/witness")
    head = await grown.checkpoints.current(grown.pool, 0)
    async with httpx.AsyncClient() as client:
        for witness, outcome in ((Witness(other.verifier, council[1].url), "malformed"), (away(other), "unreachable")):
            with pytest.raises(WitnessFault) as fault:
                await Witnessing(grown.pool, grown.checkpoints, (witness,)).ask(client, witness, head)
            assert fault.value.outcome == outcome


def away(server: WitnessServer) -> Witness:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return Witness(server.verifier, f"http://127.0.0.1:{listening.getsockname()[1]}")


def test_the_file_of_witnesses_is_read_line_by_line(tmp_path: Path) -> None:
    server = WitnessServer.make(tmp_path / "one", "council.example/witness")
    file = tmp_path / "witnesses"
    file.write_text(f"# the works council\n{server.verifier.to_text()} http://witness.example/\n\n")
    assert read_witnesses(file) == (Witness(server.verifier, "http://witness.example"),)
    assert read_witnesses(None) == ()
    log_key = NoteVerifier(ORIGIN, SigningKey.generate().public).to_text()
    for text in ("only-a-key\n", f"{log_key} http://witness.example\n", "a b c\n", "x\n" * 20):
        file.write_text(text)
        with pytest.raises(WitnessesUnusable):
            read_witnesses(file)
