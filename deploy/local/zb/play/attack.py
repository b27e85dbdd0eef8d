"""Scene four: a hostile device. The broker refuses what is not its own; the ledger takes the good and names the rest."""

import asyncio
import itertools
import time
from typing import Any, Final

from zb.play.stage import AGENCY, POLL_S, WAIT_S, Stage, WaitedInVain, in_thread, until
from zb.play.stranger import Stranger, spoilt
from zb_contracts.segment import encode_segment
from zb_contracts.subjects import field as field_subject
from zb_contracts.subjects import sync as sync_subject
from zb_contracts.sync import SyncAnswer, Verdict

TECHNICIAN: Final = "mallory"
BOAST: Final = 1_000_000


async def attack(stage: Stage) -> None:
    """10:40 one enrolled device turns hostile."""
    stage.story.set(10, 40)
    stage.teller.chapter("10:40  A hostile device")
    stranger = Stranger()
    url = stage.url("field-ingest", "enrolment-codes")
    code = await in_thread(stage.person("administrator").post, url, {"agency": AGENCY, "technician": TECHNICIAN})
    await stranger.enrol(stage.stack.services["field-ingest"].url, code["code"])
    await stranger.connect(stage.stack.nats.url)
    try:
        await _as_another(stage, stranger)
        await _good_and_again(stage, stranger)
        await _tampered(stage, stranger)
        await _fork(stage, stranger)
        await _boast(stage, stranger)
    finally:
        await stranger.close()


async def _as_another(stage: Stage, stranger: Stranger) -> None:
    victim = (await stage.hero.call("status"))["device"]
    event = stranger.compose(stage.story.text(10, 40))
    attempts = {
        "publishing as another device": (field_subject(victim), encode_segment([event])),
        "asking as another technician": (sync_subject(victim, stage.hero.technician), b""),
        "reaching JetStream's own interface": ("$JS.API.STREAM.PURGE.FIELD", b""),
    }
    for what, (subject, payload) in attempts.items():
        said = await stranger.is_refused(subject, payload)
        stage.tell("hostile", f"{what}: {'the broker refuses' if said else 'NOT REFUSED'}")
        stage.promises.hold(
            f"{what} is refused by the broker",
            "permissions violation" in said.lower(),
            said.removeprefix("nats: ") or "let through",
        )


async def _size(stage: Stage) -> int:
    progress = await in_thread(stage.person("auditor").get, stage.url("field-ingest", "states/progress"))
    return sum(int(shard["size"]) for shard in progress["shards"].values())


async def _chain(stage: Stage, stranger: Stranger, reached: str, field: str, value: Any) -> dict[str, Any]:
    url = stage.url("field-ingest", f"ledger/{stranger.me.author}")

    def there() -> Any:
        chain = stage.person("auditor").get(url)
        return chain if chain[field] == value else None

    return dict(await until(reached, there))


async def _good_and_again(stage: Stage, stranger: Stranger) -> None:
    for text in ("first", "second"):
        stranger.chain.append(stranger.compose(stage.story.text(10, 40), text=text))
    await stranger.publish(stranger.chain)
    await _chain(stage, stranger, "the good events are admitted", "mark", 2)
    before = await _size(stage)
    await stranger.publish(stranger.chain, nonce="0" * 32)
    third = stranger.compose(stage.story.text(10, 41), text="third")
    stranger.chain.append(third)
    await stranger.publish([third])
    await _chain(stage, stranger, "the event after the repeated segment is admitted", "mark", 3)
    after = await _size(stage)
    stage.promises.figures["stored_twice"] = after - before - 1
    stage.tell("hostile", "sends a segment again under another message id: a duplicate, nothing changes")
    stage.promises.hold(
        "a segment sent again changes nothing", after == before + 1, f"the ledger grew by {after - before}, the new event"
    )


async def _tampered(stage: Stage, stranger: Stranger) -> None:
    good = stranger.compose(stage.story.text(10, 42), text="fourth")
    stranger.chain.append(good)
    bad = spoilt(stranger.compose(stage.story.text(10, 42), text="fifth"))
    await stranger.publish([good, bad])
    await _chain(stage, stranger, "the good event before the tampered one is admitted", "mark", 4)
    url = stage.url("field-ingest", "rejects")

    def rejected() -> Any:
        return stage.person("auditor").get(url)["counts"]

    counts = await until("the tampered segment lies in the rejects", rejected)
    stage.promises.figures["rejected"] = sum(int(row["times"]) for row in counts)
    stage.tell("hostile", "a tampered event lands in the rejects; the good one before it is admitted")
    stage.promises.hold(
        "a tampered event is rejected, the good one beside it admitted", bool(counts), ", ".join(row["code"] for row in counts)
    )


async def _fork(stage: Stage, stranger: Stranger) -> None:
    await stranger.publish([stranger.compose(stage.story.text(10, 43), text="another second", fork_of=2)])
    answer = await _until_refused(stage, stranger, "event.fork")
    kept = [receipt for receipt in answer.receipts if receipt.seq == 2 and receipt.verdict == Verdict.ADMITTED]
    stage.tell("hostile", "forks its own history: the first one stands, the second is a recorded refusal")
    stage.promises.hold("a fork becomes a recorded refusal, the first event stands", bool(kept), "event.fork")


async def _until_refused(stage: Stage, stranger: Stranger, code: str) -> SyncAnswer:
    deadline = time.monotonic() + WAIT_S
    for number in itertools.count():
        answer = await stranger.receipts(f"{number:032x}")
        if any(receipt.code == code for receipt in answer.receipts):
            return answer
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(POLL_S)
    raise WaitedInVain(f"waited {WAIT_S:.0f} s in vain: a receipt says {code}")


async def _boast(stage: Stage, stranger: Stranger) -> None:
    victim = (await stage.hero.call("status"))["author"]
    await stranger.publish([stranger.compose(stage.story.text(10, 44), seen={victim: BOAST}, text="I know it all")])
    chain = await _chain(stage, stranger, "the boast is refused", "stopped_code", "event.seen_ahead")
    stage.tell("hostile", f"claims to know {BOAST:,} events of another: refused, its mark stays at {chain['mark']}")
    stage.promises.hold("a vector that claims more than the ledger has is refused", chain["mark"] == 4, chain["stopped_code"])
