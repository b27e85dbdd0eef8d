"""Scene three: the network is back; segments go up, receipts come down, photos follow, and two histories become one state."""

from datetime import UTC
from typing import Any

from zb.play.stage import HERO, Stage, in_thread, until


async def reunion(stage: Stage) -> None:
    """10:30 everything meets. What the merge decided is shown with its reasons."""
    stage.story.set(10, 30)
    stage.teller.chapter("10:30  The network is back")
    await stage.networks[HERO].mend()
    await _receipts(stage)
    await _evidence(stage)
    await stage.projected()
    await _moved(stage)
    await _cancelled(stage)
    await _history(stage)
    await _reasons(stage)


async def _receipts(stage: Stage) -> None:
    await stage.hero.call("online")
    settled = await stage.hero.call("wait", until="settled", timeout_s=60)
    status = await stage.hero.call("status")
    events = status["events"]
    stage.tell("ledger", f"{events['mark']} of {events['head']} events have their signed receipt; the checkpoint is consistent")
    stage.promises.hold("every event of the device has its receipt", settled["reached"] and events["mark"] == events["head"],
                        f"mark {events['mark']}, head {events['head']}")  # fmt: skip
    url = stage.url("field-ingest", f"ledger/{status['author']}")
    chain = await in_thread(stage.person("auditor").get, url)
    stage.promises.figures["lost"] = events["head"] - chain["mark"]
    stage.promises.hold(
        "nothing is lost: the ledger has the device's whole chain", chain["mark"] == events["head"], f"{chain['mark']}"
    )
    stage.promises.hold(
        "the device trusts the ledger", not status["problems"], status["problems"] or "no split view, no rollback"
    )


async def _evidence(stage: Stage) -> None:
    uploaded = await stage.hero.call("wait", until="uploaded", timeout_s=60)
    url = stage.url("media", f"interventions/{stage.chosen['cancelled']}/evidence")

    def complete() -> Any:
        evidence = stage.person("auditor").get(url)
        return evidence if evidence["complete"] and len(evidence["items"]) == len(stage.photos) else None

    evidence = await until("the evidence is complete", complete)
    stored = {item["sha256"] for item in evidence["items"] if item["stored"]}
    stage.promises.figures["photos"] = sum(item["kind"] == "photo" and item["stored"] for item in evidence["items"])
    stage.tell("media", f"{len(stored)} files uploaded by hash and verified; the evidence is complete")
    stage.promises.hold("the evidence is complete and every byte verified", uploaded["reached"] and stored == set(stage.photos),
                        f"{len(stored)} of {len(stage.photos)} files")  # fmt: skip


async def _moved(stage: Stage) -> None:
    state = (await stage.state(stage.chosen["moved"]))["state"]
    start = stage.story.local(state["fields"]["planned_start"]["value"])
    stage.tell(
        "ledger", f"moved and started: planned start {start} (office) and {state['status']} since 10:05 (field), both stand"
    )
    stage.promises.hold("both writes stand: 16:00 and in progress", start == "16:00" and state["status"] == "in_progress",
                        f"{start}, {state['status']}")  # fmt: skip
    stage.promises.hold(
        "moving asks nobody to solve a conflict", state["conflicts"] == [], f"{len(state['conflicts'])} conflicts"
    )


async def _cancelled(stage: Stage) -> None:
    state = (await stage.state(stage.chosen["cancelled"]))["state"]
    verdict = state["visits"][0]["cancel_verdict"] if state["visits"] else None
    code, cancel = (verdict["code"], verdict["cancel"]) if verdict else ("no verdict", None)
    stage.tell("ledger", f"cancelled and done: the visit stands, the cancel is set aside ({code}), the dispatcher is asked")
    stage.promises.hold("the cancel that came too late is set aside with its reason", cancel == "set_aside", code)
    stage.promises.hold("the visit stands, whole", state["status"] == "done" and len(state["lines"]) >= 7,
                        f"{state['status']}, {len(state['lines'])} lines")  # fmt: skip
    signers = [line["value"]["signer"] for line in state["lines"] if line["kind"] == "signature"]
    stage.promises.hold("the signer's name is sealed", bool(signers) and "sealed" in signers[0], "A256GCM" if signers else "none")

    def asked() -> bool:
        board = stage.person("dispatcher").get(stage.url("scheduling", f"interventions/{stage.chosen['cancelled']}"))
        return bool(board["field"]) and board["status"] == "done"

    await until("the dispatcher's board shows the visit", asked)


async def _history(stage: Stage) -> None:
    device = (await stage.hero.call("status"))["author"]
    names = {device: HERO}
    for which in ("moved", "cancelled"):
        url = stage.url("field-ingest", f"interventions/{stage.chosen[which]}/history")
        entries = (await in_thread(stage.person("auditor").get, url))["entries"]
        rows = [
            (
                entry["position"],
                entry["type"].removeprefix("intervention.").removesuffix(".v1"),
                names.get(entry["author"], entry["author"]),
                stage.story.local(entry["at"]),
                stage.story.local(entry["received_at"]),
                ", ".join(f"{names.get(author, author)}:{seq}" for author, seq in sorted(entry["seen"].items())) or "-",
            )
            for entry in entries
        ]
        title = f"History of the intervention that was {which}"
        stage.teller.table(title, ("position", "event", "author", "occurred", "received", "had seen, up to"), rows)


async def _reasons(stage: Stage) -> None:
    rows: list[tuple[str, str, str, str]] = []
    for which in ("moved", "cancelled"):
        url = stage.url("field-ingest", f"interventions/{stage.chosen[which]}/explain")
        decisions = (await in_thread(stage.person("auditor").get, url, language=stage.language))["decisions"]
        telling = [one for one in decisions if one["losers"] or one["field"] in ("status", "planned_start", "visit", "conflict")]
        # The same sentence may stand on a value and on the conflict that it raises.
        sentences = {one["sentence"]: one for one in reversed(telling)}
        rows += [(which, one["field"], one["rule"], sentence) for sentence, one in reversed(sentences.items())]
    now = stage.story.now()
    title = f"Why each value stands (times in UTC; it is {now:%H:%M} here, {now.astimezone(UTC):%H:%M} UTC)"
    stage.teller.table(title, ("intervention", "field", "rule", "reason"), rows)
    stage.promises.hold(
        "every decided value names its rule", bool(rows) and all(row[2] and row[3] for row in rows), f"{len(rows)} reasons"
    )
