"""The words for what no rule had to decide between: lines, requests, corrections, admissions, what nobody wrote; and for who
knew what. In English and French; it holds no logic.

`{label}` is the field, `{who}` and `{who_at}` as in `wording`; the rest are values of the thing that is told.
"""

from typing import Final

from zb_contracts.merge.wording import Language

Words = dict[Language, str]

UNWRITTEN: Final[Words] = {
    "en": "{label}: nothing stands here; no event has written it.",
    "fr": "{label} : rien ici ; aucun événement ne l'a écrit.",
}
HELD: Final[Words] = {
    "en": "Held by {technician}: the visit ({who_at}) is open, and its opening knew that the office had sent this technician.",
    "fr": "Tenue par {technician} : la visite ({who_at}) est ouverte, et son début savait ce technicien désigné par le bureau.",
}
REOPENED: Final[Words] = {
    "en": "Reopened by {who}: visits whose end it knew no longer count for the status.",
    "fr": "Rouverte par {who} : les visites dont elle connaissait la fin ne comptent plus pour l'état.",
}
CANCEL: Final[Words] = {
    "en": "{who} cancelled ({reason}); no plan and no reopening knew of it.",
    "fr": "{who} a annulé ({reason}) ; aucune planification ni réouverture ne le savait.",
}
PAUSE: Final[dict[str, Words]] = {
    "paused": {"en": "Work paused, as {who} recorded it.", "fr": "Travail interrompu, comme {who} l'a noté."},
    "resumed": {"en": "Work resumed, as {who} recorded it.", "fr": "Travail repris, comme {who} l'a noté."},
}
CORRECTION: Final[dict[str, Words]] = {
    "current": {
        "en": '{label}: {who} corrected to "{value}" ({reason}); shown beside what the technician recorded.',
        "fr": "{label} : {who} a corrigé en « {value} » ({reason}) ; montré à côté de ce que le technicien a noté.",
    },
    "overtaken": {
        "en": '{label}: the correction of {who} to "{value}" was known to a later one.',
        "fr": "{label} : la correction de {who} en « {value} » était connue d'une plus récente.",
    },
}
REQUEST: Final[dict[str, Words]] = {
    "open": {
        "en": '{label}: {who} asks for "{value}"; the other side has not answered.',
        "fr": "{label} : {who} demande « {value} » ; l'autre côté n'a pas répondu.",
    },
    "accepted": {
        "en": '{label}: {who} asked for "{value}"; {others} agreed.',
        "fr": "{label} : {who} a demandé « {value} » ; {others} a accepté.",
    },
    "declined": {
        "en": '{label}: {who} asked for "{value}"; {others} did not agree.',
        "fr": "{label} : {who} a demandé « {value} » ; {others} n'a pas accepté.",
    },
    "stands": {
        "en": '{label}: {who} set "{value}" directly, as the policy on the plan that it knew allows.',
        "fr": "{label} : {who} a fixé « {value} » directement, comme le permettent les règles du plan qu'il connaissait.",
    },
}
LINE: Final[dict[str, Words]] = {
    "line_kept": {
        "en": "{label}: recorded by {who}; a line stays for ever.",
        "fr": "{label} : noté par {who} ; une ligne reste pour toujours.",
    },
    "line_changed": {
        "en": "{label}: shown as {who} wrote it; other versions of the line, all kept: {count}.",
        "fr": "{label} : montré tel qu'écrit par {who} ; autres versions de la ligne, toutes gardées : {count}.",
    },
    "line_withdrawn": {
        "en": "{label}: withdrawn by {who} ({reason}); the line stays visible.",
        "fr": "{label} : retiré par {who} ({reason}) ; la ligne reste visible.",
    },
}
EXPORT: Final[Words] = {
    "en": "Billed by {who} in batch {batch} of {profile} ({kind}); lines later than it knew: {count}.",
    "fr": "Facturée par {who} dans le lot {batch} de {profile} ({kind}) ; lignes postérieures à ce qu'il savait : {count}.",
}
ADMISSION: Final[Words] = {
    "en": "{who} let in the held event {event} of {author}: decided by {supervisor} ({reason}).",
    "fr": "{who} a admis l'événement retenu {event} de {author} : décision de {supervisor} ({reason}).",
}
UNKNOWN: Final[dict[str, Words]] = {
    "unknown_type": {
        "en": "{type} (events: {count}): kept, but version {version} of the rules does not know this type.",
        "fr": "{type} (événements : {count}) : gardés, mais la version {version} des règles ne connaît pas ce type.",
    },
    "unreadable_body": {
        "en": "{type} (events: {count}): kept, but the content does not have the form of this type.",
        "fr": "{type} (événements : {count}) : gardés, mais le contenu n'a pas la forme de ce type.",
    },
    "not_this_author": {
        "en": "{type} (events: {count}): kept, but an author of this kind may not write this type.",
        "fr": "{type} (événements : {count}) : gardés, mais un auteur de cette sorte ne peut pas écrire ce type.",
    },
    "not_this_stream": {
        "en": "{type} (events: {count}): kept, but this type does not belong here.",
        "fr": "{type} (événements : {count}) : gardés, mais ce type n'a pas sa place ici.",
    },
    "no_visit": {
        "en": "{type} (events: {count}): kept, but without the name of a visit.",
        "fr": "{type} (événements : {count}) : gardés, mais sans nom de visite.",
    },
    "names_nothing_here": {
        "en": "{type} (events: {count}): kept, but about something that is not here.",
        "fr": "{type} (événements : {count}) : gardés, mais au sujet d'une chose absente d'ici.",
    },
    "answered_by_the_asker": {
        "en": "{type} (events: {count}): kept, but the side that had asked cannot answer itself.",
        "fr": "{type} (événements : {count}) : gardés, mais le côté qui demandait ne peut se répondre.",
    },
}
QUANTITY: Final[Words] = {
    "en": "{part}: {quantity}, the exact sum of its movements; movements of this stock: {count}.",
    "fr": "{part} : {quantity}, somme exacte de ses mouvements ; mouvements de ce stock : {count}.",
}
NOTE: Final[Words] = {
    "en": "Noted by {who}.",
    "fr": "Noté par {who}.",
}

LABELS: Final[dict[str, Words]] = {
    "status": {"en": "status", "fr": "état"},
    "held_by": {"en": "held by", "fr": "tenue par"},
    "visit": {"en": "visits", "fr": "visites"},
    "conflict": {"en": "conflicts", "fr": "conflits"},
    "request": {"en": "requests", "fr": "demandes"},
    "correction": {"en": "corrections", "fr": "corrections"},
    "cancel": {"en": "cancels", "fr": "annulations"},
    "reopened": {"en": "reopening", "fr": "réouverture"},
    "export": {"en": "billing", "fr": "facturation"},
    "admission": {"en": "admissions", "fr": "admissions"},
    "unknown": {"en": "not read", "fr": "non lus"},
    "started": {"en": "start", "fr": "début"},
    "ended": {"en": "end", "fr": "fin"},
    "note": {"en": "remarks", "fr": "remarques"},
}
"""What can be asked about beside the fields of `zb_contracts.fields`."""

EVENT: Final[Words] = {
    "en": "{side} {author} no. {seq} ({type}, event {event})",
    "fr": "{side} {author} n° {seq} ({type}, événement {event})",
}
KNEW: Final[dict[str, Words]] = {
    "knew": {
        "en": "{event} had seen {other} up to no. {known}, so it knew no. {seq}.",
        "fr": "{event} connaissait {other} jusqu'au n° {known}, donc le n° {seq}.",
    },
    "did_not_know": {
        "en": "{event} had seen {other} up to no. {known}, so it did not know no. {seq}.",
        "fr": "{event} connaissait {other} jusqu'au n° {known}, donc pas le n° {seq}.",
    },
    "nothing": {
        "en": "{event} had seen nothing of {other}, so it did not know no. {seq}.",
        "fr": "{event} ne connaissait rien de {other}, donc pas le n° {seq}.",
    },
    "alone": {
        "en": "{event} had seen {all}.",
        "fr": "{event} connaissait {all}.",
    },
    "alone_nothing": {
        "en": "{event} had seen nothing of others.",
        "fr": "{event} ne connaissait rien des autres.",
    },
    "one": {"en": "{author} up to no. {known}", "fr": "{author} jusqu'au n° {known}"},
    "more": {"en": "and of further authors: {count}", "fr": "et d'autres auteurs : {count}"},
    "own_later": {
        "en": "{event} was written by the same author after no. {seq}, so it knew it.",
        "fr": "{event} a été écrit par le même auteur après le n° {seq}, donc en le connaissant.",
    },
    "own_earlier": {
        "en": "{event} was written by the same author before no. {seq}.",
        "fr": "{event} a été écrit par le même auteur avant le n° {seq}.",
    },
}
LEARNED: Final[Words] = {
    "en": "{event} could not be read when it was received ({reason}); it is read since version {version} of the rules.",
    "fr": "{event} n'était pas lisible à sa réception ({reason}) ; il est lu depuis la version {version} des règles.",
}
