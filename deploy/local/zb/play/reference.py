"""What the office keeps on file before the day begins: prices, a contract, a checklist, three technicians."""

from typing import Any, Final

PRICE_LIST: Final = "PL-2026"
CONTRACT: Final = "C-COPRO"
CHECKLIST: Final = "lift-safety"

PRICES: Final[dict[str, Any]] = {
    "currency": "EUR",
    "call_out_cents": 4500,
    "prices": [
        {"code": "LABOUR", "label": "Main-d'œuvre", "unit": "h", "unit_price_cents": 7200, "vat_permille": 200},
        {"code": "DOOR-SHOE", "label": "Patin de porte", "unit": "pc", "unit_price_cents": 1890, "vat_permille": 200},
        {"code": "FUSE-10A", "label": "Fusible 10 A", "unit": "pc", "unit_price_cents": 240, "vat_permille": 200},
    ],
}

CONTRACTS: Final[dict[str, Any]] = {
    "contracts": [{"contract": CONTRACT, "customer": "Syndic Les Crêtes", "erp_account": "411000123", "price_list": PRICE_LIST}]
}

QUESTIONS: Final[dict[str, Any]] = {
    "title": "Sécurité ascenseur",
    "items": [
        {"item": "power-off", "question": "Alimentation coupée et cadenassée ?", "answer": "yes_no"},
        {"item": "doors", "question": "Portes palières verrouillées ?", "answer": "yes_no"},
    ],
}


def technicians(centre: tuple[float, float], timezone: str) -> list[dict[str, Any]]:
    """Three technicians who start from the middle of the day's sites (degrees)."""
    names = {"ana": "Ana Ferrand", "ben": "Ben Okafor", "chloe": "Chloé Martin"}
    return [
        {
            "id": technician,
            "name": name,
            "latitude_e7": round(centre[0] * 1e7),
            "longitude_e7": round(centre[1] * 1e7),
            "starts": "08:00",
            "ends": "18:00",
            "timezone": timezone,
            "skills": ["lift"],
        }
        for technician, name in names.items()
    ]
