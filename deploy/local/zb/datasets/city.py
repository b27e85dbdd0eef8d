"""A plausible French city with its lifts and one day's work, the same for the same seed.

Names are made up. Coordinates lie round a point in the Vercors, where the network does not always reach.
"""

import random
from collections.abc import Iterator
from datetime import date

from zb.datasets import EQUIPMENT_COLUMNS, INTERVENTION_COLUMNS, SITE_COLUMNS, Dataset
from zb.datasets.tables import csv_bytes

TOWN, POSTCODE = "Saint-Aubin-en-Vercors", "26420"
LATITUDE, LONGITUDE = 45.0540, 5.3980
SITES = 40
INTERVENTIONS = 14

_STREETS = (
    "rue de la République", "place du Marché", "avenue Jean-Jaurès", "rue des Tilleuls", "chemin des Crêtes", "rue Pasteur",
    "quai de la Vernaison", "boulevard Gambetta", "rue du Four", "allée des Hêtres", "rue Victor-Hugo", "montée du Château",
)  # fmt: skip
_HOUSES = ("Résidence", "Copropriété", "Clinique", "Hôtel", "École", "Mairie annexe", "Résidence seniors")
_PLACES = ("des Cimes", "du Lac", "Bellevue", "de la Source", "des Gentianes", "du Parc", "des Remparts", "Saint-Martin")
_MAKERS = (("Otis", "Gen2"), ("Schindler", "3300"), ("KONE", "MonoSpace"), ("TK Elevator", "evolution"), ("Sodimas", "AVS"))
_PEOPLE = ("Mme Fournier", "M. Bertrand", "Mme Nguyen", "M. Lefèvre", "Mme Diallo", "M. Morel", "Mme Garcia", "M. Roche")
_TROUBLES = (
    ("repair", "Cabine bloquée au 2e étage", "high", "60"), ("repair", "Porte palière ne ferme plus", "high", "45"),
    ("maintenance", "Visite d'entretien trimestrielle", "normal", "40"), ("repair", "Bruit anormal en montée", "normal", "50"),
    ("inspection", "Contrôle du parachute", "normal", "45"), ("repair", "Éclairage cabine en panne", "low", "30"),
)  # fmt: skip


def french_city(seed: int = 26420, day: date = date(2026, 3, 16)) -> Dataset:
    """The city, its lifts and the interventions of `day`."""
    chance = random.Random(seed)  # noqa: S311 - a repeatable city, not a secret
    sites = list(_sites(chance))
    lifts = list(_lifts(chance, sites))
    return Dataset(
        title=f"{TOWN} (generated, seed {seed})",
        day=day,
        sites_csv=csv_bytes(SITE_COLUMNS, sites),
        equipment_csv=csv_bytes(EQUIPMENT_COLUMNS, lifts),
        interventions_csv=csv_bytes(INTERVENTION_COLUMNS, _work(chance, lifts, day)),
        timezone="Europe/Paris",
    )


def _sites(chance: random.Random) -> Iterator[dict[str, str]]:
    for number in range(1, SITES + 1):
        yield {
            "reference": f"SITE-{number:03d}",
            "name": f"{chance.choice(_HOUSES)} {chance.choice(_PLACES)}",
            "street": f"{chance.randint(1, 80)} {chance.choice(_STREETS)}",
            "postcode": POSTCODE,
            "town": TOWN,
            "country": "FR",
            "latitude": f"{LATITUDE + chance.gauss(0, 0.03):.6f}",
            "longitude": f"{LONGITUDE + chance.gauss(0, 0.04):.6f}",
            "contact": f"{chance.choice(_PEOPLE)}, 06 {chance.randint(10, 99)} {chance.randint(10, 99)} 00 00",
            "access_code": f"{chance.randint(1000, 9999)}{chance.choice('AB')}",
            "notes": chance.choice(("", "", "Clé chez le gardien", "Local machinerie au 6e", "Pas de réseau au sous-sol")),
        }


def _lifts(chance: random.Random, sites: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    for site in sites:
        for letter in "AB"[: chance.choice((1, 1, 2))]:
            maker, model = chance.choice(_MAKERS)
            yield {
                "reference": f"ASC-{site['reference'][5:]}{letter}",
                "kind": "lift",
                "label": f"Ascenseur {letter}",
                "site_reference": site["reference"],
                "manufacturer": maker,
                "model": model,
                "serial": f"{chance.randint(100000, 999999)}",
                "year_built": str(chance.randint(1974, 2022)),
                "place": chance.choice(("Hall", "Escalier B", "Cour", "Parking")),
                "latitude": site["latitude"],
                "longitude": site["longitude"],
            }


def _work(chance: random.Random, lifts: list[dict[str, str]], day: date) -> Iterator[dict[str, str]]:
    for number, lift in enumerate(chance.sample(lifts, INTERVENTIONS), 1):
        kind, title, priority, duration = chance.choice(_TROUBLES)
        yield {
            "reference": f"INT-{day:%Y%m%d}-{number:02d}",
            "kind": kind,
            "title": title,
            "site_reference": lift["site_reference"],
            "equipment_reference": lift["reference"],
            "priority": priority,
            "duration_min": duration,
            "contract": "C-COPRO",
            "price_list": "PL-2026",
            "checklist": "lift-safety",
            "required_skills": "lift",
        }
