"""An auditor's dossier of one intervention as pages for a terminal, in French or English: columns, rows, and each row in full.

Pure: what `auditing` read comes in, text goes out. The sentences of the rules are the merge's, word for word.
"""

from dataclasses import dataclass
from typing import Any, Final

from zb_contracts.merge.wording import Language
from zb_contracts.printable import printable

PAGES: Final = ("timeline", "set_aside", "evidence", "proofs")

WORDS: Final[dict[str, dict[Language, str]]] = {
    "timeline": {"fr": "Chronologie", "en": "Timeline"},
    "set_aside": {"fr": "Valeurs écartées", "en": "Set aside"},
    "evidence": {"fr": "Preuves matérielles", "en": "Evidence"},
    "proofs": {"fr": "Preuves du registre", "en": "Proofs"},
    "place": {"fr": "place", "en": "place"},
    "who": {"fr": "auteur", "en": "author"},
    "what": {"fr": "événement", "en": "event"},
    "wall": {"fr": "horloge de l'appareil", "en": "device's clock"},
    "anchored": {"fr": "heure ancrée", "en": "anchored time"},
    "received": {"fr": "reçu", "en": "received"},
    "verdict": {"fr": "verdict", "en": "verdict"},
    "knew": {"fr": "savait", "en": "knew"},
    "knew_nothing": {"fr": "ne savait rien des autres", "en": "knew nothing of the others"},
    "anchor": {"fr": "ancre du serveur", "en": "server's anchor"},
    "elapsed": {"fr": "écoulé depuis, sur l'appareil", "en": "passed since, on the device"},
    "facts": {"fr": "constats à la réception", "en": "facts at receipt"},
    "body": {"fr": "contenu signé", "en": "signed content"},
    "field": {"fr": "champ", "en": "field"},
    "rule": {"fr": "règle", "en": "rule"},
    "stands": {"fr": "retenue", "en": "stands"},
    "lost": {"fr": "écartée", "en": "set aside"},
    "kind": {"fr": "nature", "en": "kind"},
    "file": {"fr": "empreinte SHA-256", "en": "SHA-256"},
    "at": {"fr": "à", "en": "at"},
    "voided": {"fr": "annulée", "en": "voided"},
    "size": {"fr": "lignes sous la tête", "en": "rows under the head"},
    "witnesses": {"fr": "témoins", "en": "witnesses"},
    "hashes": {"fr": "empreintes du chemin", "en": "hashes of the path"},
    "none_yet": {"fr": "aucune tête signée ne la couvre encore", "en": "no signed head covers it yet"},
    "head": {"fr": "tête signée", "en": "signed head"},
    "path": {"fr": "chemin (RFC 6962)", "en": "path (RFC 6962)"},
    "nothing": {"fr": "rien", "en": "nothing"},
    "language": {"fr": "English", "en": "Français"},
    "quit": {"fr": "Quitter", "en": "Quit"},
}


@dataclass(frozen=True, slots=True)
class Dossier:
    """What was read of one intervention. `decisions` by language, because their sentences are."""

    stream: str
    title: str
    entries: list[dict[str, Any]]
    decisions: dict[Language, list[dict[str, Any]]]
    files: list[dict[str, Any]]
    checkpoints: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its columns, its rows, and for each row the whole of it as text."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    details: list[str]


def pages(dossier: Dossier, language: Language) -> dict[str, Page]:
    """All pages, by the names in PAGES."""

    def said(name: str) -> str:
        return WORDS[name][language]

    return {
        "timeline": Page(
            tuple(map(said, ("place", "who", "what", "wall", "anchored", "received", "verdict"))),
            [_event(entry) for entry in dossier.entries],
            [_event_in_full(entry, language) for entry in dossier.entries],
        ),
        "set_aside": Page(
            tuple(map(said, ("field", "stands", "lost", "rule"))),
            [(one["field"], _text(one["stands"]), _lost(one), one["rule"]) for one in dossier.decisions[language]],
            ["\n".join(map(printable, [one["sentence"], "", *one["knew"]])) for one in dossier.decisions[language]],
        ),
        "evidence": Page(
            tuple(map(said, ("kind", "file", "who", "at"))),
            [(one["kind"], one["file"]["sha256"], one["origin"]["author"], one["origin"]["at"]) for one in dossier.files],
            [_lines(_flat(one)) + (f"\n{said('voided')}" if one["voided"] else "") for one in dossier.files],
        ),
        "proofs": Page(
            tuple(map(said, ("place", "size", "witnesses", "hashes"))),
            [_proof(group, row, language) for group in dossier.checkpoints for row in group["rows"]],
            [_proof_in_full(group, row, language) for group in dossier.checkpoints for row in group["rows"]],
        ),
    }


def _event(entry: dict[str, Any]) -> tuple[str, ...]:
    clocks = entry["clocks"]
    verdict = entry["kind"] if entry["code"] is None else f"{entry['kind']} {entry['code']}"
    place = f"{entry['shard']}:{entry['position']}"
    return place, entry["author"], entry["type"], *(clocks[name] or "?" for name in ("wall", "anchored", "received")), verdict


def _event_in_full(entry: dict[str, Any], language: Language) -> str:
    clocks = entry["clocks"]
    knew = ", ".join(f"{author} {seq}" for author, seq in sorted(entry["knew"].items()))
    elapsed = "?" if clocks["elapsed_ms"] is None else f"{clocks['elapsed_ms'] / 1000:.3f} s"
    told = {
        "what": f"{entry['type']} ({entry['event']}, {entry['author']} {entry['seq']}, {entry.get('actor') or '?'})",
        "wall": clocks["wall"] or "?",
        "anchor": clocks["anchor"] or "?",
        "elapsed": elapsed,
        "anchored": clocks["anchored"] or "?",
        "received": clocks["received"],
        "knew": knew or WORDS["knew_nothing"][language],
        "facts": _lines(_flat(entry["facts"])) or WORDS["nothing"][language],
        "body": _lines(_flat(entry["body"] or {})) or WORDS["nothing"][language],
    }
    return "\n".join(f"{WORDS[name][language]}: {text}" for name, text in told.items())


def _text(value: Any) -> str:
    """A value as one line: text as it is, anything else by its leaves."""
    return printable(value) if isinstance(value, str) else _lines(_flat(value)).removeprefix("=")


def _lost(decision: dict[str, Any]) -> str:
    return " | ".join(_text(value) for value in decision["set_aside"])


def _proof(group: dict[str, Any], row: dict[str, Any], language: Language) -> tuple[str, ...]:
    place = f"{group['shard']}:{row['position']}"
    if row["proof"] is None:
        return place, WORDS["none_yet"][language], "0", ""
    return place, str(group["size"]), str(group["witnesses"]), str(len(row["proof"]))


def _proof_in_full(group: dict[str, Any], row: dict[str, Any], language: Language) -> str:
    if row["proof"] is None:
        return WORDS["none_yet"][language]
    lines = [f"{WORDS['head'][language]}:", group["checkpoint"], f"{WORDS['path'][language]}:", *row["proof"]]
    return "\n".join(lines)


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """The leaves of plain JSON, each with the way to it."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _flat(inner, f"{name}.{key}" if name else key)]
    return [(name, value)]


def _lines(leaves: list[tuple[str, Any]]) -> str:
    return ", ".join(printable(f"{name}={value}") for name, value in leaves)
