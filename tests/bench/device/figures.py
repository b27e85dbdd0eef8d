"""What was measured as rows beside the targets, and the rows as a section of a page.

Pure arithmetic: the extrapolation to a whole company is here, too, with the part of the platform that would be short first.
"""

import os
from pathlib import Path
from typing import Any, Final

from tests.bench.device.fleet import COMPANY, Backlog, Held
from tests.bench.device.ours import Side
from tests.bench.device.peer import Compared
from tests.bench.device.store import PHOTOS, Append, Opening
from tests.bench.device.wire import Bytes
from tests.bench.ledger import report
from tests.bench.ledger.report import Target

DEVICES_TARGET: Final = 10_000
WAVE_S_MAX: Final = 300.0
BEGIN: Final = "<!-- device figures -->"
END: Final = "<!-- end of device figures -->"
KIB: Final = 1024
MIB: Final = 1 << 20


def append(found: Append) -> list[Target]:
    return [
        Target("append: signed, encrypted, sealed, on disk, p50", found.p50_ms, "ms", 2.0, "less"),
        Target("append, p99", found.p99_ms, "ms", 6.0, "less"),
        Target(f"append while {PHOTOS} photos of 3 MB are attached, p50", found.with_photos_p50_ms, "ms"),
        Target(f"append while {PHOTOS} photos are attached, p99", found.with_photos_p99_ms, "ms"),
        Target("of it, p99 with photos times p99 without", found.with_photos_p99_ms / found.p99_ms, "", 2.0, "less"),
    ]


def opening(found: Opening) -> list[Target]:
    what = f"{found.interventions:,} interventions, {found.media_bytes / 1e6:.0f} MB of media"
    return [
        Target(f"open with {what}, after unlock", found.open_ms, "ms", 300.0, "less"),
        Target("the PIN's stretching, wanted", found.stretch_ms, "ms"),
        Target("list of all interventions, merged", found.listed_ms, "ms"),
    ]


def wire(found: Bytes) -> list[Target]:
    return [
        Target("sync with nothing new: requests", found.idle_requests, "", 1, "less"),
        Target("sync with nothing new: up", found.idle_up, "bytes", KIB, "less"),
        Target("sync with nothing new: down", found.idle_down, "bytes", KIB, "less"),
        Target(f"{found.changed_documents} changed documents, down", found.changed_down, "bytes"),
        Target("of it, times their compressed size", found.ratio, "", 1.3, "less"),
    ]


def backlog(found: Backlog) -> list[Target]:
    """The wave, what it cost, and what it would be for COMPANY devices on this machine, everything on it."""
    promised = WAVE_S_MAX if found.devices >= DEVICES_TARGET else None
    cpu_s = found.server_cpu_s
    return [
        Target(f"{found.devices:,} devices, {found.events:,} events: all receipts verified", found.took_s, "s", promised, "less"),
        Target("events a second, to the verified receipt", found.events / found.took_s, "events/s"),
        Target("lost, by the ledger's marks and chain ends", found.lost, "events", 0, "less"),
        Target("devices without all their receipts", found.unsettled, "", 0, "less"),
        Target("receipts that refused or held", found.not_admitted, "", 0, "less"),
        Target("receipt of a segment, p50", found.to_receipt_p50_s, "s"),
        Target("receipt of a segment, p99", found.to_receipt_p99_s, "s"),
        Target("connected at a time, at most", found.connected_max, "devices"),
        Target("questions a device", found.asked / found.devices, ""),
        Target("bytes a device, up", found.bytes_up / found.devices, "bytes"),
        Target("bytes a device, down", found.bytes_down / found.devices, "bytes"),
        *(Target(f"CPU of {part}", used * 1000 / found.devices, "ms/device") for part, used in sorted(found.cpu_s.items())),
        *(Target(f"memory of {part}, at most", size / MIB, "MiB") for part, size in found.resident.items()),
        *_company(found, cpu_s),
    ]


def _company(found: Backlog, cpu_s: float) -> list[Target]:
    cores, times = os.cpu_count() or 1, COMPANY / found.devices
    own = sum(found.cpu_s.values()) / (found.took_s * cores)
    worst = found.bottleneck
    return [
        Target(f"{COMPANY:,} devices, devices on this machine too", found.took_s * times / 60, "min"),
        Target(f"{COMPANY:,} devices, the platform's CPU alone", cpu_s * times / cores / 60, "min"),
        Target("share of this machine's cores that was used", own, ""),
        Target(f"bottleneck: {worst}, share of the platform's CPU", found.cpu_s[worst] / cpu_s, ""),
        Target(f"{COMPANY:,} devices in 5 min: cores for {worst}", found.cpu_s[worst] * times / WAVE_S_MAX, "cores"),
        Target(f"{COMPANY:,} devices in 5 min: cores for all", cpu_s * times / WAVE_S_MAX, "cores"),
    ]


def held(found: Held) -> list[Target]:
    each = found.broker_bytes_each
    return [
        Target("connections held at once", found.connections, ""),
        Target("the broker's memory for each", each / KIB, "KiB"),
        Target(f"{COMPANY:,} connections: the broker's memory", COMPANY * each / MIB, "MiB"),
    ]


def peer(found: Compared) -> list[Target]:
    ours, other = found.ours, found.peer
    return [
        Target("ours: until all receipts are verified", ours.converged_s, "s"),
        Target("peer pouchdb-server: until the server has all", other.converged_s, "s"),
        Target("ours: bytes on the wire an event, up", ours.up / ours.events, "bytes"),
        Target("peer: bytes on the wire an event, up", other.up / other.events, "bytes"),
        Target("ours: bytes on the wire an event, down", ours.down / ours.events, "bytes"),
        Target("peer: bytes on the wire an event, down", other.down / other.events, "bytes"),
        Target("ours: CPU of all servers an event", ours.server_cpu_s * 1e6 / ours.events, "us"),
        Target("peer: CPU of its server an event", other.server_cpu_s * 1e6 / other.events, "us"),
        *(row for name, side in (("ours", found.our_photos), ("peer", found.peer_photos)) for row in _photos(name, side, found)),
    ]


def _photos(name: str, side: Side, found: Compared) -> list[Target]:
    return [
        Target(f"{name}: bytes up for a photo of {found.photo_bytes:,}", side.up / side.events, "bytes"),
        Target(f"{name}: {side.events} photos stored", side.converged_s, "s"),
        Target(f"{name}: CPU of all servers a photo", side.server_cpu_s * 1e3 / side.events, "ms"),
    ]


def into_page(page: Path, written: dict[str, Any]) -> None:
    """Put the table of a run between the page's marks. ValueError where the page has none."""
    targets = [Target(**{name: value for name, value in row.items() if name != "ok"}) for row in written["targets"]]
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has no line {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    table = report.markdown(written["machine"], targets)
    page.write_text(f"{before}{BEGIN}\n{table}{END}{after}")
