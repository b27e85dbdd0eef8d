"""What the device's words mean to people, in English and French: states, what is waited for, refusals.

The codes are the interface; these are the sentences for a screen. It holds no logic, and no word of the server's: those are in
`zb_contracts.problems`.
"""

from typing import Final

from zb_contracts.merge.wording import Language

Words = dict[Language, str]

STATES: Final[dict[str, Words]] = {
    "queued": {"en": "on this device only", "fr": "sur cet appareil seulement"},
    "received": {"en": "received, not confirmed", "fr": "reçu, pas confirmé"},
    "admitted": {"en": "confirmed", "fr": "confirmé"},
    "held": {"en": "held for a supervisor", "fr": "retenu pour un superviseur"},
    "refused": {"en": "refused", "fr": "refusé"},
    "set_aside": {"en": "confirmed, another value stands", "fr": "confirmé, une autre valeur vaut"},
}
WAITS: Final[dict[str, Words]] = {
    "network": {"en": "a network", "fr": "un réseau"},
    "unmetered_link": {"en": "Wi-Fi", "fr": "le Wi-Fi"},
    "battery": {"en": "charge", "fr": "de la charge"},
    "window": {"en": "the hours of the policy", "fr": "les heures de la règle"},
    "receipt": {"en": "a receipt", "fr": "un reçu"},
    "supervisor": {"en": "a supervisor", "fr": "un superviseur"},
    "server": {"en": "the server", "fr": "le serveur"},
    "turn": {"en": "the next contact", "fr": "le prochain contact"},
}
STATUSES: Final[dict[str, Words]] = {
    "draft": {"en": "draft", "fr": "brouillon"},
    "planned": {"en": "planned", "fr": "planifiée"},
    "assigned": {"en": "assigned", "fr": "affectée"},
    "in_progress": {"en": "in progress", "fr": "en cours"},
    "done": {"en": "done", "fr": "faite"},
    "not_done": {"en": "not done", "fr": "non faite"},
    "cancelled": {"en": "cancelled", "fr": "annulée"},
}
FAULTS: Final[dict[str, Words]] = {
    "device.not_enrolled": {"en": "No device here: enrol one first.", "fr": "Pas d'appareil ici : enrôlez-le d'abord."},
    "device.already_enrolled": {
        "en": "There is a device here already: another one needs a folder of its own.",
        "fr": "Il y a déjà un appareil ici : un autre a besoin de son propre dossier.",
    },
    "device.busy": {"en": "Another program has this device open.", "fr": "Un autre programme a ouvert cet appareil."},
    "device.locked": {"en": "Locked: enter the PIN to read.", "fr": "Verrouillé : entrez le code pour lire."},
    "device.session_expired": {
        "en": "The session has ended: reading comes back with a network. Recording goes on.",
        "fr": "La session est finie : la lecture revient avec le réseau. La saisie continue.",
    },
    "device.clock_untrusted": {
        "en": "The clock was set back: reading comes back with a network. Recording goes on.",
        "fr": "L'horloge a été reculée : la lecture revient avec le réseau. La saisie continue.",
    },
    "device.reading_suspended": {
        "en": "The office suspended reading on this device. Recording goes on.",
        "fr": "Le bureau a suspendu la lecture sur cet appareil. La saisie continue.",
    },
    "device.wiping": {
        "en": "This device is being wiped: it sends what it has and records nothing more.",
        "fr": "Cet appareil est en cours d'effacement : il envoie ce qu'il a et n'enregistre plus rien.",
    },
    "device.wiped": {"en": "This device was wiped.", "fr": "Cet appareil a été effacé."},
    "device.wrong_pin": {"en": "Wrong PIN.", "fr": "Code faux."},
    "device.pin_blocked": {"en": "Too many wrong PINs: wait.", "fr": "Trop de codes faux : attendez."},
    "device.reading_destroyed": {
        "en": "Too many wrong PINs: what could be read here is gone, what was recorded is not.",
        "fr": "Trop de codes faux : ce qui se lisait ici a disparu, ce qui a été saisi non.",
    },
    "device.pin_too_weak": {"en": "The PIN or passphrase is too short.", "fr": "Le code ou la phrase est trop court."},
    "device.no_technician": {"en": "Nobody has signed in here.", "fr": "Personne n'a ouvert de session ici."},
    "device.store_damaged": {
        "en": "The store cannot be read: delete nothing, ask the office.",
        "fr": "Le stockage ne se lit pas : n'effacez rien, appelez le bureau.",
    },
    "device.store_restored": {
        "en": "This store is an old copy: it goes on by itself, the person is told.",
        "fr": "Ce stockage est une copie ancienne : il continue de lui-même, la personne en est informée.",
    },
    "device.disk_failing": {
        "en": "The disk does not answer: nothing was recorded. Try again, and have the device looked at.",
        "fr": "Le disque ne répond pas : rien n'a été enregistré. Réessayez, et faites examiner l'appareil.",
    },
    "device.disk_full": {"en": "The disk is full: nothing was recorded.", "fr": "Le disque est plein : rien n'a été enregistré."},
    "device.record_invalid": {"en": "That cannot be recorded so.", "fr": "Cela ne peut pas être enregistré ainsi."},
    "device.policy_invalid": {"en": "There is no such policy.", "fr": "Cette règle n'existe pas."},
    "device.visit": {
        "en": "That step does not fit the visit.",
        "fr": "Cette étape ne convient pas à la visite.",
    },
    "device.line_unknown": {"en": "There is no such line.", "fr": "Cette ligne n'existe pas."},
    "device.intervention_unknown": {"en": "This device does not know that.", "fr": "Cet appareil ne connaît pas cela."},
    "device.catalogue_missing": {
        "en": "That catalogue has not come yet.",
        "fr": "Ce catalogue n'est pas encore arrivé.",
    },
    "device.file_invalid": {"en": "That file cannot be attached.", "fr": "Ce fichier ne peut pas être joint."},
    "device.nonce_suspicious": {
        "en": "A server asked for a signature that it may not have.",
        "fr": "Un serveur a demandé une signature à laquelle il n'a pas droit.",
    },
    "device.unreachable": {
        "en": "No contact with the platform: everything stays queued.",
        "fr": "Pas de contact avec la plateforme : tout reste en attente.",
    },
    "device.session_ended": {
        "en": "The session was cut: the device asks for a new one by itself.",
        "fr": "La session a été coupée : l'appareil en demande une autre de lui-même.",
    },
    "device.refused": {"en": "The platform refused.", "fr": "La plateforme a refusé."},
    "device.command_invalid": {"en": "There is no such command.", "fr": "Cette commande n'existe pas ainsi."},
}
ANSWERS: Final[dict[str, Words]] = {
    "nothing_listed": {"en": "Nothing.", "fr": "Rien."},
    "nothing_waits": {
        "en": "Nothing waits, and nothing is to be seen.",
        "fr": "Rien n'attend, et rien n'est à voir.",
    },
    "pending": {"en": "not all of it is confirmed", "fr": "tout n'en est pas confirmé"},
    "planned": {"en": "planned", "fr": "prévu"},
    "reference": {"en": "reference", "fr": "référence"},
    "title": {"en": "title", "fr": "titre"},
    "id": {"en": "id", "fr": "id"},
    "sent": {"en": "Events sent", "fr": "Événements envoyés"},
    "receipts": {"en": "Receipts", "fr": "Reçus"},
    "documents": {"en": "Documents", "fr": "Documents"},
    "uploaded": {"en": "Photos stored", "fr": "Photos déposées"},
    "number": {"en": "no.", "fr": "n°"},
    "age": {"en": "since", "fr": "depuis"},
    "state": {"en": "state", "fr": "état"},
    "waits_for": {"en": "waits for", "fr": "attend"},
    "what": {"en": "what", "fr": "quoi"},
    "reason": {"en": "why", "fr": "pourquoi"},
    "events": {"en": "Events", "fr": "Événements"},
    "photos": {"en": "Photos", "fr": "Photos"},
    "device": {"en": "Device", "fr": "Appareil"},
    "technician": {"en": "Technician", "fr": "Technicien"},
    "nobody": {"en": "nobody", "fr": "personne"},
    "reading": {"en": "Reading", "fr": "Lecture"},
    "unlocked": {"en": "unlocked", "fr": "déverrouillée"},
    "locked": {"en": "locked", "fr": "verrouillée"},
    "session": {"en": "Session until", "fr": "Session jusqu'au"},
    "clock": {"en": "Clock", "fr": "Horloge"},
    "clock_known": {"en": "known", "fr": "connue"},
    "clock_open": {"en": "to be confirmed at the next contact", "fr": "à confirmer au prochain contact"},
    "clock_back": {"en": "was set back", "fr": "a été reculée"},
    "none": {"en": "none", "fr": "aucun"},
    "problem": {"en": "Problem", "fr": "Problème"},
    "ending": {"en": "Revoked", "fr": "Révoqué"},
}
"""Words of the command line's pages."""
