"""What the command line shows a person of the answers that people read most: lists, outbox, status. English and French.

It changes nothing and knows no device: each page is made of a command's answer, which `--json` gives whole. Answers without a
page are shown as they are.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from zb_contracts.merge.wording import Language
from zb_contracts.printable import printable
from zb_device.wording import ANSWERS, FAULTS, STATES, STATUSES, WAITS, Words

GAP: Final = "  "
TEXT_CHARACTERS: Final = 60
"""Of a message in a table."""

Json = Any


def shown(command: str, answer: Json, language: Language) -> str:
    """The page of this command's answer."""
    page = _PAGES.get(command)
    if page:
        return page(answer, language)
    if _is_recorded(answer):
        return _recorded(answer, language)
    return "\n".join(map(printable, json.dumps(answer, ensure_ascii=False, indent=2).split("\n")))


def _list(lines: Sequence[Json], language: Language) -> str:
    say = _sayer(language)
    if not lines:
        return say("nothing_listed")
    rows = [
        (
            _moment(line["planned_at"], language),
            _word(STATUSES, line["status"], language) + (" *" if line["pending"] else ""),
            line["reference"] or "",
            line["title"] or "",
            line["stream"].partition(":")[2],
        )
        for line in lines
    ]
    heads = tuple(say(name) for name in ("planned", "state", "reference", "title", "id"))
    notes = [f"* {say('pending')}"] if any(line["pending"] for line in lines) else []
    return "\n".join([*_table([heads, *rows]), *notes])


def _outbox(answer: Json, language: Language) -> str:
    say = _sayer(language)
    events = [
        (
            str(one["seq"]),
            _age(one["age_s"], language),
            _word(STATES, one["state"], language),
            _word(WAITS, one["waits_for"], language),
            one["type"] or "",
            _reason(one),
        )
        for one in answer["events"]
    ]
    files = [
        (
            one["sha256"][:8],
            _age(one["age_s"], language),
            _word(STATES, one["state"], language),
            _word(WAITS, one["waits_for"], language),
            one["mime"],
            _reason(one),
        )
        for one in answer["media"]
    ]
    if not events and not files:
        return say("nothing_waits")
    heads = tuple(say(name) for name in ("number", "age", "state", "waits_for", "what", "reason"))
    pages = [[say(title), *_table([heads, *rows])] for title, rows in (("events", events), ("photos", files)) if rows]
    return "\n\n".join("\n".join(page) for page in pages)


def _is_recorded(answer: Json) -> bool:
    """Whether it confirms events, as every command that records does."""
    made = answer if isinstance(answer, list) else [answer]
    return bool(made) and all(isinstance(one, dict) and {"seq", "type", "state"} <= one.keys() for one in made)


def _recorded(answer: Json, language: Language) -> str:
    made = answer if isinstance(answer, list) else [answer]
    return "\n".join(_table([(str(one["seq"]), one["type"], _word(STATES, one["state"], language), one["id"]) for one in made]))


def _sync(answer: Json, language: Language) -> str:
    say = _sayer(language)
    rows = [(say(name), str(answer[name])) for name in ("sent", "receipts", "documents", "uploaded")]
    rows += [(say("problem"), answer["keys_fault"])] if answer["keys_fault"] else []
    rows += [(say("ending"), command) for command in answer["commands"]]
    return "\n".join(_table(rows))


def _status(answer: Json, language: Language) -> str:
    say = _sayer(language)
    session, clock = answer["session"], answer["clock"]
    rows = [
        (say("device"), f"{answer['device']} ({answer['agency']})"),
        (say("technician"), answer["technician"] or say("nobody")),
        (say("reading"), say("unlocked" if answer["unlocked"] else "locked")),
        (say("session"), _moment(session["expires_at"], language)),
        (say("clock"), say("clock_back" if clock["went_back"] else "clock_known" if clock["trusted_exactly"] else "clock_open")),
        (say("events"), _counts(answer["events"], STATES, language)),
        (say("photos"), _counts(answer["media"], STATES, language)),
    ]
    if session["reading"] != "open":
        rows.append((say("reading"), _word(FAULTS, session["reading"], language)))
    for one in answer["waits"]:
        reason, since = _word(WAITS, one["for"], language), _age(one["oldest_s"], language)
        rows.append((say("waits_for"), f"{one['count']} {say(one['what'])}: {reason}, {since}"))
    rows += [(say("problem"), f"{one['at']} {one['code']}: {one['message']}") for one in answer["problems"]]
    if answer["ending"]:
        rows.append((say("ending"), answer["ending"]["cause"]))
    return "\n".join(_table(rows))


_PAGES: Final[dict[str, Callable[[Json, Language], str]]] = {"list": _list, "outbox": _outbox, "status": _status, "sync": _sync}


def _sayer(language: Language) -> Callable[[str], str]:
    return lambda name: ANSWERS[name][language]


def _word(words: dict[str, Words], name: str | None, language: Language) -> str:
    """A word of the protocol for people; one that is unknown here as it is."""
    return words[name][language] if name in words else name or ""


def _counts(counts: Json, words: dict[str, Words], language: Language) -> str:
    said = (f"{counts[name]} ({words[name][language]})" for name in words if counts.get(name))
    return ", ".join(said) or ANSWERS["none"][language]


def _reason(one: Json) -> str:
    aside = ", ".join(f"{value['field']}: {value['rule']}" for value in one.get("set_aside", ()))
    said = f"{one['code']}: {one['message']}" if one["code"] else ""
    return (said or aside)[:TEXT_CHARACTERS]


def _age(seconds: int, language: Language) -> str:
    """In the largest unit that counts at least two."""
    for length, unit in ((86_400, {"en": "d", "fr": "j"}), (3_600, {"en": "h", "fr": "h"}), (60, {"en": "min", "fr": "min"})):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit[language]}"
    return f"{seconds} s"


def _moment(text: str | None, language: Language) -> str:
    """A time of the protocol by this machine's local time."""
    if text is None:
        return ""
    local = datetime.fromisoformat(text).astimezone()
    return local.strftime("%d/%m/%Y %H:%M" if language == "fr" else "%Y-%m-%d %H:%M")


def _table(rows: Iterable[Sequence[str]]) -> list[str]:
    kept = [[printable(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*kept, strict=True)]
    return [GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in kept]
