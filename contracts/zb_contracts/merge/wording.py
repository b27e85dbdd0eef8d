"""The words for every rule, verdict, flag and status, in English and French. It holds no logic but the telling of a time.

`{label}` is the field, `{who}` the side that stands with its time, `{others}` the sides set aside with theirs; `{who_at}` and
`{others_at}` are the same for use in brackets.
"""

from collections.abc import Sequence
from typing import Final, Literal

from zb_contracts.merge import rules
from zb_contracts.merge.state import Origin
from zb_contracts.times import format_time_ms, parse_time_ms

Language = Literal["en", "fr"]

CLOCK_TOLERANCE_MS: Final = 60_000
"""A wall clock that differs more than this from the anchored time is told as an interval."""

RULES: Final[dict[str, dict[Language, str]]] = {
    rules.UNOPPOSED: {
        "en": "{label}: stands as {who} wrote it; no other write stands against it.",
        "fr": "{label} : tel qu'écrit par {who} ; aucune autre écriture ne s'y oppose.",
    },
    rules.LATEST_CLOCK: {
        "en": "{label}: {who} stands; {others} did not know of it, nor it of them; between equals the latest time decides.",
        "fr": "{label} : {who} l'emporte ; {others} ne la connaissait pas, ni l'inverse ; entre égaux, l'heure tranche.",
    },
    rules.FIELD_OVER_OFFICE: {
        "en": "{label}: {who} stands; {others} did not know of it, and on what the field knows the field stands.",
        "fr": "{label} : {who} l'emporte ; {others} ne la connaissait pas, et le terrain prime sur ce qu'il constate.",
    },
    rules.POLICY_STANDS: {
        "en": "{label}: the proposal of {who} stands directly, because the plan's policy lets the field set it.",
        "fr": "{label} : la proposition de {who} vaut directement, car les règles du plan y autorisent le terrain.",
    },
    rules.EDITED_AFTER_VOID: {
        "en": "{label}: the line stands; the removal ({others_at}) did not know the version of {who}.",
        "fr": "{label} : la ligne reste ; le retrait ({others_at}) ne connaissait pas la version de {who}.",
    },
    rules.ABANDONED: {
        "en": "{label}: {who} ended the visit, knowing all that the field had recorded of it.",
        "fr": "{label} : {who} a clos la visite en connaissant tout ce que le terrain y avait noté.",
    },
    rules.ABANDONED_BUT_CONTINUED: {
        "en": "{label}: {who} stands; the abandonment ({others_at}) did not know all that the field recorded.",
        "fr": "{label} : {who} l'emporte ; l'abandon ({others_at}) ignorait une partie de ce que le terrain a noté.",
    },
    rules.CANCELLED_TOO_LATE: {
        "en": "{label}: set aside, because work began ({who_at}) without knowing the cancel ({others_at}).",
        "fr": "{label} : mise de côté, car le travail a commencé ({who_at}) sans connaître l'annulation ({others_at}).",
    },
    rules.WORKED_ON_CANCELLED: {
        "en": "{label}: set aside, because work was done ({who_at}) although the cancel ({others_at}) was known.",
        "fr": "{label} : mise de côté, car le travail a été fait ({who_at}) bien que l'annulation ({others_at}) fût connue.",
    },
}

VERDICTS: Final[dict[str, dict[Language, str]]] = {
    rules.CANCELLED_TOO_LATE: {
        "en": "The visit stands ({who_at}): neither side knew of the other, and work had begun. The dispatcher is asked.",
        "fr": "La visite reste ({who_at}) : aucun des deux ne savait, et le travail avait commencé. Le bureau doit trancher.",
    },
    rules.WORKED_ON_CANCELLED: {
        "en": "The visit stands, flagged ({who_at}): the technician knew the cancel and worked. The dispatcher is asked.",
        "fr": "La visite reste, signalée ({who_at}) : le technicien connaissait l'annulation. Le bureau doit trancher.",
    },
    rules.TRAVELLED_ON_CANCELLED: {
        "en": "The cancel stands: the technician set out ({who_at}) although it was known. The dispatcher is asked.",
        "fr": "L'annulation tient : le technicien est parti ({who_at}) alors qu'il la connaissait. Le bureau doit trancher.",
    },
    "recall": {
        "en": "The cancel stands: no work had begun; the technician ({who_at}) is asked to turn back.",
        "fr": "L'annulation tient : aucun travail commencé ; le technicien ({who_at}) est prié de faire demi-tour.",
    },
    "stop_request": {
        "en": "The visit stands; the office cancelled while knowing of it, so the technician ({who_at}) is asked to stop.",
        "fr": "La visite reste ; le bureau a annulé en la connaissant : le technicien ({who_at}) est prié d'arrêter.",
    },
    "turned_back": {
        "en": "The cancel stands: the visit ({who_at}) ended before work had begun.",
        "fr": "L'annulation tient : la visite ({who_at}) s'est terminée avant tout travail.",
    },
    "cancelled_after_visit": {
        "en": "The visit ({who_at}) stands as recorded; the cancel, which knew of it, stands for what remains.",
        "fr": "La visite ({who_at}) reste telle quelle ; l'annulation, qui la connaissait, vaut pour la suite.",
    },
}

FLAGS: Final[dict[str, dict[Language, str]]] = {
    rules.NOT_ASSIGNED: {
        "en": "The visit ({who_at}) is kept; as far as it knew, the office had not assigned this technician.",
        "fr": "La visite ({who_at}) est gardée ; à sa connaissance, le bureau n'avait pas désigné ce technicien.",
    },
    rules.CONTINUED_AFTER_CANCEL: {
        "en": "The visit ({who_at}) went on after the cancel was known.",
        "fr": "La visite ({who_at}) a continué alors que l'annulation était connue.",
    },
    rules.CONTINUED_AFTER_END: {
        "en": "The visit ({who_at}) has steps after its end; it stays ended.",
        "fr": "La visite ({who_at}) comporte des étapes après sa fin ; elle reste close.",
    },
    rules.OPENING_MISSING: {
        "en": "The first event of the visit ({who_at}) is refused or not readable; the rest is kept.",
        "fr": "Le premier événement de la visite ({who_at}) est refusé ou illisible ; le reste est gardé.",
    },
    rules.STRANGE_VISIT: {
        "en": "These events ({who_at}) name another technician's visit; they are kept as a visit of their own.",
        "fr": "Ces événements ({who_at}) citent la visite d'un autre technicien ; ils forment une visite à part.",
    },
}

CONFLICTS: Final[dict[str, dict[Language, str]]] = {
    rules.TWO_HOLDERS: {
        "en": "Two technicians, each sent by the office as far as they knew, are at work; both visits are kept whole.",
        "fr": "Deux techniciens, chacun désigné à sa connaissance, sont à l'œuvre ; les deux visites sont gardées entières.",
    },
    rules.TWO_OPEN_VISITS: {
        "en": "Visits of different technicians are open; all are kept whole.",
        "fr": "Des visites de techniciens différents sont ouvertes ; toutes sont gardées entières.",
    },
    rules.CONCURRENT_VISITS: {
        "en": "Two technicians came without knowing of each other; both visits are kept whole.",
        "fr": "Deux techniciens sont venus sans le savoir ; les deux visites sont gardées entières.",
    },
    rules.ABANDONED_BUT_CONTINUED: {
        "en": "The office ended a visit without knowing all that the field recorded; the field's record stands.",
        "fr": "Le bureau a clos une visite sans connaître tout ce que le terrain a noté ; le terrain prime.",
    },
    rules.CANCELLED_WHILE_PLANNED: {
        "en": "A cancel and a plan did not know of each other; the cancel stands until somebody decides.",
        "fr": "Une annulation et une planification s'ignoraient ; l'annulation tient jusqu'à décision.",
    },
    rules.TOO_MANY_VISITS: {
        "en": "There are too many visits to compare; look at them one by one.",
        "fr": "Trop de visites pour les comparer ; à examiner une par une.",
    },
    **{code: VERDICTS[code] for code in (rules.CANCELLED_TOO_LATE, rules.WORKED_ON_CANCELLED, rules.TRAVELLED_ON_CANCELLED)},
}

STATUS: Final[dict[str, dict[Language, str]]] = {
    "in_progress": {"en": "In progress: a visit is open ({who_at}).", "fr": "En cours : une visite est ouverte ({who_at})."},
    "done": {"en": "Done: a visit ended so ({who_at}).", "fr": "Terminée : une visite l'a conclue ({who_at})."},
    "not_done": {"en": "Not done: a visit ended so ({who_at}).", "fr": "Non réalisée : une visite l'a conclu ({who_at})."},
    "cancelled": {
        "en": "Cancelled by the office ({who_at}); no visit says otherwise.",
        "fr": "Annulée par le bureau ({who_at}) ; aucune visite n'y contredit.",
    },
    "assigned": {"en": "Assigned by the office ({who_at}).", "fr": "Attribuée par le bureau ({who_at})."},
    "planned": {"en": "Planned by the office ({who_at}).", "fr": "Planifiée par le bureau ({who_at})."},
    "draft": {"en": "Draft: the office has not planned it yet.", "fr": "Brouillon : le bureau ne l'a pas encore planifiée."},
}

_SIDES: Final[dict[str, dict[Language, str]]] = {
    "field": {"en": "the field", "fr": "le terrain"},
    "office": {"en": "the office", "fr": "le bureau"},
    "service": {"en": "a service", "fr": "un service"},
}
_NO_ANCHOR: Final[dict[Language, str]] = {
    "en": "{wall} UTC by its own clock, never compared with the server",
    "fr": "{wall} UTC à son horloge, jamais comparée au serveur",
}
_INTERVAL: Final[dict[Language, str]] = {
    "en": "between {first} and {last} UTC, because its clock differs from the server's",
    "fr": "entre {first} et {last} UTC, car son horloge diffère de celle du serveur",
}


def fill(
    sentence: str, language: Language, *, who: Origin | None, others: Sequence[Origin] = (), label: str = "", **more: object
) -> str:
    """The sentence with its places filled in; `more` are places of its own."""
    return sentence.format(
        **more,
        label=label,
        who=_told(who, language, "{} ({})") if who else "",
        who_at=_told(who, language, "{}, {}") if who else "",
        others=", ".join(_told(other, language, "{} ({})") for other in others),
        others_at=" ; ".join(_told(other, language, "{}, {}") for other in others),
    )


def _told(origin: Origin, language: Language, form: str) -> str:
    return form.format(side_of(origin, language), when(origin, language))


def side_of(origin: Origin, language: Language) -> str:
    """Who wrote it, as a side."""
    return _SIDES[origin.side][language]


def when(origin: Origin, language: Language) -> str:
    """The time of an event as a person may rely on it."""
    wall = _minute(origin.at)
    if origin.trusted_ms is None:
        return _NO_ANCHOR[language].format(wall=wall)
    try:
        trusted = format_time_ms(origin.trusted_ms)
    except ValueError:
        # An elapsed time beyond all calendars is a lie of the device: only its wall clock can be shown.
        return _NO_ANCHOR[language].format(wall=wall)
    if _differ(origin.at, trusted):
        first, last = sorted((_minute(origin.at), _minute(trusted)))
        return _INTERVAL[language].format(first=first, last=last)
    return f"{_minute(trusted)} UTC"


def _differ(wall: str, trusted: str) -> bool:
    return abs(parse_time_ms(wall) - parse_time_ms(trusted)) > CLOCK_TOLERANCE_MS


def _minute(text: str) -> str:
    return f"{text[:10]} {text[11:16]}"
