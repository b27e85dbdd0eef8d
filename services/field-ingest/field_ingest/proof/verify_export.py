#!/usr/bin/env python3
"""Verify an export of a Zone Blanche ledger, off line, without any of its makers' code.

Needs Python 3.11 or later and PyNaCl (`pip install pynacl`), nothing else. It reads the folder and changes nothing. Every fault
has a name; the exit code is 0 when there is none, 1 when there is one, 2 when the folder is no export.

    python verify_export.py FOLDER [--root HEX] [--origin NAME] [--json]

--root is the public key of the platform's root (64 hex digits), known to you from elsewhere, e.g. a contract. Without it the
export vouches only for itself. Formats: RFC 6962 hashing; C2SP signed-note, tlog-checkpoint, tlog-tiles; DSSE; Ed25519.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

FORMAT = "zone-blanche-export-v1"
EVENT_TYPE = "application/vnd.zoneblanche.event.v1+json"
CERTIFICATE_TYPE = "application/vnd.zoneblanche.key-certificate.v1"
CERTIFICATION_TYPE = "application/vnd.zoneblanche.certification.v1"
KEY_STATEMENTS = ("device.enrolled.v1", "device.author_registered.v1", "device.revoked.v1")
BESIDE_THE_CHAIN = ("event.fork", "event.link_broken")
ROW_KEYS = {"position", "kind", "header", "body", "signature", "received_at_ms", "facts"}
KINDS = ("admitted", "held", "refusal")
FAULTS_TOLD_MAX = 100
LINE_BYTES_MAX = 1_000_000

Json = dict[str, Any]


class Fault(Exception):
    """One thing that is wrong: a name for programs and a sentence for people."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(public).verify(message, signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def unbase64(text: str) -> bytes:
    """Standard base64 in its one spelling, so that no byte of a file can change without a trace."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical base64")
    return raw


def unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pae(kind: str, payload: bytes) -> bytes:
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)


def prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def subtree(hashes: bytes) -> bytes:
    """The hash over a power of two of hashes."""
    row = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def file_hash(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def open_note(path: Path, name: str, keys: Iterable[bytes]) -> str | None:
    """The text of the signed note in a file, if one of these keys signed it under this name, and none falsely; None else."""
    note = path.read_bytes().decode()
    text, _, lines = note.rpartition("\n\n")
    known = {hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4]: key for key in keys}
    found = [line.partition(f"\u2014 {name} ") for line in lines.removesuffix("\n").split("\n")]
    raws = [unbase64(encoded) for before, _, encoded in found if encoded and not before]
    ours = [verify(known[raw[:4]], f"{text}\n".encode(), raw[4:]) for raw in raws if raw[:4] in known]
    return f"{text}\n" if ours and all(ours) and note.endswith("\n") else None


class Tree:
    """The tiles of one log under its checkpoint: every hash that it gives is tied to the checkpoint's root."""

    def __init__(self, folder: Path, origin: str, size: int, root: bytes) -> None:
        self.folder, self.origin, self.size = folder, origin, size
        self.trusted = lru_cache(maxsize=4096)(self._trusted)
        if self._root() != root:
            raise Fault("TILE_WRONG", f"{origin}: the tiles at the right edge do not give the checkpoint's root")

    def entry(self, level: int, number: int) -> bytes:
        """The hash of the complete subtree `number` of height 8 * level; of a leaf at level 0."""
        at = (number & 255) * 32
        return self.trusted(level, number >> 8)[at : at + 32]

    def _trusted(self, level: int, number: int) -> bytes:
        """A full tile is vouched for by the entry above it, a partial one because the root is made of it."""
        hashes = self._read(level, number)
        if len(hashes) == 256 * 32 and subtree(hashes) != self.entry(level + 1, number):
            raise Fault("TILE_WRONG", f"{self.origin}: tile {level}/{number} is not the one under the checkpoint")
        return hashes

    def _read(self, level: int, number: int) -> bytes:
        width = min(256, (self.size >> (8 * level)) - number * 256)
        groups, rest = [f"{number % 1000:03}"], number // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        name = f"tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < 256 else "")
        if width <= 0 or not (self.folder / name).is_file():
            raise Fault("TILE_MISSING", f"{self.origin}: {name} is missing")
        hashes = (self.folder / name).read_bytes()
        if len(hashes) != width * 32:
            raise Fault("TILE_WRONG", f"{self.origin}: {name} has {len(hashes)} bytes, not {width * 32}")
        return hashes

    def _root(self) -> bytes:
        """From the complete subtrees of the size's bits, the largest first."""
        peaks: list[bytes] = []
        for level in range(8):
            width = (self.size >> (8 * level)) & 255
            hashes = self._read(level, self.size >> (8 * level + 8)) if width else b""
            at, found = 0, list[bytes]()
            for bit in range(7, -1, -1):
                if width >> bit & 1:
                    found.append(subtree(hashes[at * 32 : (at + (1 << bit)) * 32]))
                    at += 1 << bit
            peaks = found + peaks
        top = peaks.pop() if peaks else hashlib.sha256(b"").digest()
        while peaks:
            top = node_hash(peaks.pop(), top)
        return top


class Verifier:
    """Goes through an export, from the root's key down to each row."""

    def __init__(self, folder: Path, root: bytes | None = None, origin: str | None = None) -> None:
        self.folder, self.root, self.origin = folder, root, origin
        self.faults: list[Json] = []
        self.count = 0
        self.checked = dict.fromkeys(("files", "certificates", "checkpoints", "rows", "signatures", "links"), 0)
        self.heads: dict[str, tuple[int, str]] = {}
        self.ledger_author = ""
        self.keys: dict[str, bytes] = {}
        self.revoked: dict[str, int] = {}

    def wrong(self, name: str, sentence: str) -> None:
        self.count += 1
        if len(self.faults) < FAULTS_TOLD_MAX:
            self.faults.append({"fault": name, "sentence": sentence})

    def guarded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What the work gives; None, and the fault noted, where it cannot."""
        try:
            return work(*arguments)
        except Fault as fault:
            self.wrong(fault.name, str(fault))
        except (ValueError, KeyError, TypeError, OSError, AttributeError, RecursionError) as fault:
            self.wrong("UNREADABLE", f"{work.__name__}: {type(fault).__name__}: {str(fault)[:200]!r}")
        return None

    def run(self) -> Json:
        """The manifest, when everything could be gone through; faults are in `faults`."""
        manifest: Json = json.loads((self.folder / "manifest.json").read_text("utf-8"))
        keys = json.loads((self.folder / "keys.json").read_text("utf-8"))
        if manifest["format"] != FORMAT:
            raise Fault("NOT_AN_EXPORT", f"manifest.json is not of the format {FORMAT}")
        ledger_keys = [key for one in keys["certificates"] if (key := self.guarded(self.certified, keys, one, manifest))]
        if not ledger_keys and not self.count:
            raise Fault("CERTIFICATE_INVALID", "no ledger key was in force when the export was made")
        self.check_manifest(manifest, ledger_keys)
        self.ledger_author = keys["ledger_author"]["author"]
        self.keys = {self.ledger_author: unbase64url(keys["ledger_author"]["public"])}
        trees = [(shard, self.guarded(self.tree, shard, ledger_keys)) for shard in manifest["shards"]]
        for shard, _ in trees:
            self.learn_keys(shard)
        for shard, tree in trees:
            if tree is not None:
                self.check_rows(shard, tree, manifest["selection"]["kind"] == "whole")
        return manifest

    def certified(self, keys: Json, one: Json, manifest: Json) -> bytes | None:
        """A ledger key that the root certified; None when it was not in force when the export was made."""
        root = bytes.fromhex(keys["root"])
        if self.root not in (None, root):
            raise Fault("ROOT_DIFFERS", "the export's root key is not the one that you gave")
        public, end = unbase64url(one["public"]), one["not_after_ms"]
        texts = (one["kid"], one["purpose"], str(one["not_before_ms"]), "" if end is None else str(end))
        statement = pae(CERTIFICATE_TYPE, prefixed(public, *(text.encode() for text in texts)))
        if one["purpose"] != "ledger" or not verify(root, statement, unbase64url(one["signature"])):
            raise Fault("CERTIFICATE_INVALID", f"the root did not certify the ledger key {one['kid']!r}")
        self.checked["certificates"] += 1
        in_force = one["not_before_ms"] <= manifest["made_at_ms"] and (end is None or manifest["made_at_ms"] < end)
        return public if in_force else None

    def check_manifest(self, manifest: Json, ledger_keys: list[bytes]) -> None:
        """The ledger signed the manifest; the manifest names every file, byte for byte, and there is none besides."""
        text = self.guarded(open_note, self.folder / "manifest.note", manifest["log_name"], ledger_keys)
        if text != f"{FORMAT}\n{file_hash(self.folder / 'manifest.json')}\n":
            self.wrong("MANIFEST_FORGED", "no certified ledger key signed this manifest")
        present = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}
        for name in sorted(present - set(manifest["files"]) - {"manifest.json", "manifest.note"}):
            self.wrong("FILE_UNKNOWN", f"{name!r} is not part of the export")
        for name, expected in sorted(manifest["files"].items()):
            if name not in present:
                self.wrong("FILE_MISSING", f"{name!r} is missing: the export was cut")
            elif file_hash(self.folder / name) != expected:
                self.wrong("FILE_CHANGED", f"{name!r} was changed after the export")
            else:
                self.checked["files"] += 1

    def tree(self, shard: Json, ledger_keys: list[bytes]) -> Tree:
        """The tree of one shard, under its signed checkpoint."""
        folder, origin = self.folder / f"shard-{shard['shard']}", shard["origin"]
        if self.origin is not None and origin.rpartition("/")[0] != self.origin:
            raise Fault("ORIGIN_DIFFERS", f"the export is of the log {origin!r}, not of {self.origin!r}")
        text = open_note(folder / "checkpoint", origin, ledger_keys)
        if text is None:
            raise Fault("CHECKPOINT_FORGED", f"no certified ledger key signed the checkpoint of {origin!r}")
        name, size, root = text.split("\n")[:3]
        if name != origin or int(size) != shard["size"]:
            raise Fault("CHECKPOINT_FORGED", f"a checkpoint of {name!r} at {size} rows, not of {origin!r} at {shard['size']}")
        self.checked["checkpoints"] += 1
        return Tree(folder, origin, int(size), unbase64(root))

    def rows(self, shard: Json) -> Iterator[Json]:
        file = self.folder / f"shard-{shard['shard']}" / "rows.jsonl"
        if not file.is_file():
            return  # named already: the manifest lists it
        with file.open("rb") as lines:
            while line := lines.readline(LINE_BYTES_MAX):
                try:
                    yield read_row(line)
                except (ValueError, TypeError, KeyError, RecursionError) as fault:
                    self.wrong("ROW_UNREADABLE", f"{shard['origin']}: a line of rows.jsonl is no row: {str(fault)[:200]!r}")

    def learn_keys(self, shard: Json) -> None:
        """Who may sign: what the ledger's own author stated. Whether these rows are in the log is checked with the rows."""
        for row in self.rows(shard):
            event = row["event"]
            if event["author"] == self.ledger_author and event["type"] in KEY_STATEMENTS and row["kind"] == "admitted":
                self.guarded(self.learn, row, f"{shard['origin']}, row {row['position']}")

    def learn(self, row: Json, place: str) -> None:
        body = json.loads(row["body"])
        author = body["author"]
        if row["event"]["type"] == "device.revoked.v1":
            self.revoked.setdefault(author, row["received_at_ms"])
            return
        key = unbase64url(body["event_key"])
        if self.keys.setdefault(author, key) != key:
            raise Fault("KEY_CHANGED", f"{place}: {author!r} got a second key")
        if "certification" in body:
            login = base64.b32decode(body["login_key"])[1:-2]
            statement = pae(CERTIFICATION_TYPE, prefixed(login, key, unbase64url(body["wrap_key"])))
            if not verify(login, statement, unbase64url(body["certification"])):
                raise Fault("KEY_UNCERTIFIED", f"{place}: the login key of {author!r} did not certify its event key")

    def check_rows(self, shard: Json, tree: Tree, whole: bool) -> None:
        origin, expected, count = shard["origin"], 0, 0
        for row in self.rows(shard):
            place, count = f"{origin}, row {row['position']}", count + 1
            if row["position"] < expected:
                self.wrong("ROW_MISPLACED", f"{place}: it stands after row {expected - 1}")
            elif whole and row["position"] > expected:
                self.wrong("ROW_MISSING", f"{origin}: rows {expected} to {row['position'] - 1} are missing")
            expected = max(expected, row["position"] + 1)
            self.guarded(self.check_row, row, tree, place, whole)
        if count != shard["rows"] or (whole and expected != tree.size):
            self.wrong("ROW_MISSING", f"{origin}: {count} rows are there, the manifest names {shard['rows']}")

    def check_row(self, row: Json, tree: Tree, place: str, whole: bool) -> None:
        self.checked["rows"] += 1
        if not 0 <= row["position"] < tree.size:
            raise Fault("ROW_MISPLACED", f"{place}: the checkpoint covers {tree.size} rows")
        header_hash = hashlib.sha256(row["header"]).hexdigest()
        leaf = (
            f'{{"facts":{row["facts"]},"header_sha256":"{header_hash}","kind":"{row["kind"]}",'
            f'"received_at_ms":{row["received_at_ms"]},"signature":"{row["signature"].hex()}"}}'
        )
        if hashlib.sha256(b"\x00" + leaf.encode()).digest() != tree.entry(0, row["position"]):
            raise Fault("LEAF_DIFFERS", f"{place}: it is not the row that the log has there")
        event = row["event"]
        if hashlib.sha256(row["body"]).hexdigest() != event["body_sha256"]:
            raise Fault("BODY_DIFFERS", f"{place}: the body is not the one that was signed")
        self.check_author(row, event["author"], place)
        if row["kind"] != "refusal" or json.loads(row["facts"])["code"] not in BESIDE_THE_CHAIN:
            self.check_link(event, header_hash, place, whole)

    def check_author(self, row: Json, author: str, place: str) -> None:
        key = self.keys.get(author)
        if key is None:
            raise Fault("KEY_UNKNOWN", f"{place}: nothing in the export says which key {author!r} has")
        if not verify(key, pae(EVENT_TYPE, row["header"]), row["signature"]):
            raise Fault("SIGNATURE_INVALID", f"{place}: {author!r} did not sign it")
        self.checked["signatures"] += 1
        if row["kind"] == "admitted" and row["received_at_ms"] > self.revoked.get(author, row["received_at_ms"]):
            raise Fault("KEY_REVOKED", f"{place}: admitted although {author!r} was revoked before it came")

    def check_link(self, event: Json, header_hash: str, place: str, whole: bool) -> None:
        """Each event names the one before it, where that one is in the export."""
        seq, head = self.heads.get(event["author"], (0, "0" * 64))
        self.heads[event["author"]] = (event["seq"], header_hash)
        if event["seq"] <= seq or (whole and event["seq"] > seq + 1) or (event["seq"] == seq + 1 and event["prev"] != head):
            raise Fault("LINK_BROKEN", f"{place}: number {event['seq']} of {event['author']!r} does not follow number {seq}")
        self.checked["links"] += event["seq"] == seq + 1


def read_row(line: bytes) -> Json:
    """A line of rows.jsonl with its bytes decoded, and under `event` what its header says. ValueError, KeyError, TypeError."""
    row: Json = json.loads(line)
    if (
        set(row) != ROW_KEYS
        or row["kind"] not in KINDS
        or type(row["position"]) is not int
        or type(row["received_at_ms"]) is not int
    ):
        raise ValueError("its keys are not those of a row")
    for name in ("header", "body", "signature"):
        row[name] = unbase64(row[name])
    header = json.loads(row["header"])
    row["event"] = {name: str(header[name]) for name in ("author", "prev", "body_sha256")}
    row["event"] |= {"seq": int(header["seq"]), "type": header.get("type")}
    return row


def told(verifier: Verifier, manifest: Json) -> tuple[list[str], list[str]]:
    """What a sound export proves, and what it does not."""
    selection, checked = manifest["selection"], verifier.checked
    logs = ", ".join(f"{one['origin']} at {one['size']} rows" for one in manifest["shards"])
    proved = [
        f"{checked['rows']} rows are in the log ({logs}), each in its place, unchanged since the checkpoint was signed",
        f"{checked['signatures']} events were signed with the keys that the log names for their {len(verifier.heads)} authors",
        f"{checked['links']} events follow the one before them in their author's chain",
        f"all {checked['files']} files are those of the export, byte for byte",
    ]
    unproved = [
        "that what was recorded is true, that a clock was right, or who held the device",
        "that the log was not shown differently to others: compare the checkpoint with one that a witness or a device holds",
    ]
    if selection["kind"] == "whole":
        proved.append("no row of the log up to the checkpoint is missing")
    else:
        unproved.insert(0, f"that there is nothing else: the export is a part of the log ({json.dumps(selection)})")
    if verifier.root is None:
        unproved.insert(0, "whose log it is: no root key was given (--root), so the export vouches only for itself")
    else:
        proved.insert(0, "the root key that you gave certified the ledger's key")
    return proved, unproved


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--root", type=bytes.fromhex, help="the root's public key, 64 hex digits")
    parser.add_argument("--origin", help="the log's name that you expect")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    arguments = parser.parse_args()
    verifier = Verifier(arguments.folder, arguments.root, arguments.origin)
    manifest = verifier.guarded(verifier.run)
    sound = manifest is not None and verifier.count == 0
    proved, unproved = told(verifier, manifest) if sound else ([], [])
    if arguments.json:
        found = {"sound": sound, "count": verifier.count, "faults": verifier.faults, **verifier.checked}
        lines = [json.dumps(found | {"proved": proved, "not_proved": unproved})]
    else:
        lines = [f"WRONG       {fault['fault']}: {fault['sentence']}" for fault in verifier.faults]
        lines += [f"PROVED      {line}" for line in proved] + [f"NOT PROVED  {line}" for line in unproved]
        lines.append("the export is sound" if sound else f"the export is NOT sound: {verifier.count} faults")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(0 if sound else 2 if manifest is None else 1)


if __name__ == "__main__":
    main()
