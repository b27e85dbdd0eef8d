"""Scene six: the auditor rebuilds everything from the ledger and checks every signature, link and root."""

from zb.play.stage import Stage, in_thread


async def proof(stage: Stage) -> None:
    """12:00 the past is replayed and proved."""
    stage.story.set(12, 0)
    stage.teller.chapter("12:00  The auditor")
    await stage.projected()
    _, live = await in_thread(stage.run, "field-ingest", "audit", "state-hash")
    code, replayed = await in_thread(stage.run, "field-ingest", "audit", "replay", "--quiet")
    figures = stage.promises.figures
    figures["state_hash"], figures["replay_hash"] = live.get("state_hash"), replayed.get("state_hash")
    stage.tell(
        "audit",
        f"rebuilt {replayed.get('streams')} streams from {replayed.get('events')} events: {replayed.get('state_hash', '')[:16]}",
    )
    same = code == 0 and bool(live.get("state_hash")) and live["state_hash"] == replayed.get("state_hash")
    stage.promises.hold("a replay from the ledger gives the same state hash", same, figures["replay_hash"] or replayed)
    code, report = await in_thread(stage.run, "field-ingest", "audit", "verify", "--json")
    stage.tell("audit", f"{report.get('signatures')} signatures, {report.get('chains')} chains and the Merkle root verified")
    stage.promises.hold("chains, signatures and the Merkle root verify", code == 0 and bool(report.get("sound")),
                        report.get("told") or f"{report.get('rows')} rows")  # fmt: skip
    kinds = report.get("kinds", {})
    figures["admitted"], figures["refused"] = kinds.get("admitted"), kinds.get("refusal")
