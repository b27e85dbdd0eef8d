"""From billed facts and agreed terms to priced lines. Pure; integers of cents and exact decimals, never a float.

Rounding has names: labour by `quarter_hours_begun`, money by `half_up_cents` once a line. A part without a price is refused
by name, never billed at nothing. The difference of two ratings is computed from their lines, so that all exports of an
intervention add up to its newest rating exactly.
"""

import decimal
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, Literal

import msgspec

from billing_bridge.facts import Facts
from zb_contracts import canonical
from zb_contracts.announcements import Contract, Price, PriceListPublished

# 24 digits of a quantity times 13 of a price, exactly.
EXACT: Final = decimal.Context(prec=60, traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow])
QUARTER_HOUR_MS: Final = 15 * 60 * 1000
HOUR_UNIT: Final = "h"
LineKind = Literal["part", "labour", "call_out"]


class BilledLine(msgspec.Struct, frozen=True, kw_only=True):
    """One priced line. `covered`: the contract pays, so the price is 0. `quantity` is exact decimal text in `unit`."""

    kind: LineKind
    code: str
    label: str
    covered: bool
    quantity: str
    unit: str
    unit_price_cents: int
    net_cents: int
    vat_permille: int
    vat_cents: int

    @property
    def key(self) -> tuple[str, str, bool]:
        return self.kind, self.code, self.covered


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed: kept with each export, so that a later change of prices does not touch what was billed."""

    price_list: PriceListPublished
    contract: Contract | None


@dataclass(frozen=True, slots=True)
class CallOut:
    """How the flat charge for coming is written."""

    code: str
    label: str
    unit: str
    vat_permille: int


class NoPrice(ValueError):
    """The price list has no price for something that was used; the message names both."""


def rate(facts: Facts, terms: Terms, call_out: CallOut) -> list[BilledLine]:
    """The lines of an intervention: parts by code, then labour, then the call-out. NoPrice where a price is missing."""
    prices = {price.code: price for price in terms.price_list.prices}
    lines = _parts(facts, terms, prices)
    if facts.visits:
        lines += _labour(facts, terms)
        lines += _call_out(terms.price_list.call_out_cents, call_out)
    return lines


def quarter_hours_begun(worked_ms: int) -> Decimal:
    """Hours of work, each quarter of an hour begun counting whole."""
    return Decimal(-(-worked_ms // QUARTER_HOUR_MS)) / 4


def half_up_cents(quantity: Decimal, unit_price_cents: int) -> int:
    """Quantity times price in whole cents; half a cent goes away from zero."""
    amount = EXACT.multiply(quantity, Decimal(unit_price_cents))
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP, context=EXACT))


def vat_cents(net_cents: int, permille: int) -> int:
    """Value added tax on a line's net amount, in whole cents, half up."""
    return half_up_cents(Decimal(permille).scaleb(-3), net_cents)


def lines_sha256(lines: Sequence[BilledLine]) -> str:
    """The hash of billed lines: what stands in `billing.exported.v1` and a later rating is compared with."""
    return hashlib.sha256(canonical.encode(list(lines))).hexdigest()


def difference(billed: Iterable[BilledLine], rated: Iterable[BilledLine]) -> list[BilledLine]:
    """What to bill so that `billed` becomes `rated`: quantities and amounts subtracted, or taken back and billed anew
    where the price differs. Empty when nothing changed."""
    before, after = {line.key: line for line in billed}, {line.key: line for line in rated}
    lines: list[BilledLine] = []
    for key in sorted(before.keys() | after.keys()):
        lines += _changed(before.get(key), after.get(key))
    return lines


def net_cents(lines: Iterable[BilledLine]) -> int:
    return sum(line.net_cents for line in lines)


def decimal_text(value: Decimal) -> str:
    """Plain decimal text: no exponent, no trailing zeros."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _parts(facts: Facts, terms: Terms, prices: Mapping[str, Price]) -> list[BilledLine]:
    used: dict[str, Decimal] = {}
    for part in facts.parts:
        used[part.part] = EXACT.add(used.get(part.part, Decimal(0)), Decimal(part.quantity))
    allowance: dict[str, Decimal] = {}
    for agreed in terms.contract.covered_parts if terms.contract else ():
        allowance[agreed.part] = EXACT.add(allowance.get(agreed.part, Decimal(0)), Decimal(agreed.quantity))
    lines = []
    for code in sorted(used):
        price = prices.get(code)
        if price is None:
            raise NoPrice(f"the price list {terms.price_list.price_list} has no price for the part {code}")
        covered = max(Decimal(0), min(used[code], allowance.get(code, Decimal(0))))
        lines += _priced("part", price, covered, covered=True)
        lines += _priced("part", price, EXACT.subtract(used[code], covered), covered=False)
    return lines


def _labour(facts: Facts, terms: Terms) -> list[BilledLine]:
    hours = quarter_hours_begun(sum(visit.worked_ms for visit in facts.visits))
    hourly = [price for price in terms.price_list.prices if price.unit == HOUR_UNIT]
    if hours and len(hourly) != 1:
        raise NoPrice(f"the price list {terms.price_list.price_list} has {len(hourly)} prices of an hour (`h`), not one")
    covered = terms.contract is not None and terms.contract.labour_covered
    return _priced("labour", hourly[0], hours, covered=covered) if hours else []


def _call_out(cents: int, call_out: CallOut) -> list[BilledLine]:
    price = Price(
        code=call_out.code,
        label=call_out.label,
        unit=call_out.unit,
        unit_price_cents=cents,
        vat_permille=call_out.vat_permille,
    )
    return _priced("call_out", price, Decimal(1), covered=False) if cents else []


def _priced(kind: LineKind, price: Price, quantity: Decimal, *, covered: bool) -> list[BilledLine]:
    if not quantity:
        return []
    unit_price_cents = 0 if covered else price.unit_price_cents
    net = half_up_cents(quantity, unit_price_cents)
    return [
        BilledLine(
            kind=kind,
            code=price.code,
            label=price.label,
            covered=covered,
            quantity=decimal_text(quantity),
            unit=price.unit,
            unit_price_cents=unit_price_cents,
            net_cents=net,
            vat_permille=price.vat_permille,
            vat_cents=vat_cents(net, price.vat_permille),
        )
    ]


def _changed(old: BilledLine | None, new: BilledLine | None) -> list[BilledLine]:
    if old == new:
        return []
    if old is None or new is None or (old.unit_price_cents, old.vat_permille) != (new.unit_price_cents, new.vat_permille):
        return [*([_less(old, None)] if old else []), *([new] if new else [])]
    return [_less(old, new)]


def _less(old: BilledLine, new: BilledLine | None) -> BilledLine:
    """`new` (or nothing) less `old`."""
    quantity = EXACT.subtract(Decimal(new.quantity if new else 0), Decimal(old.quantity))
    return msgspec.structs.replace(
        new or old,
        quantity=decimal_text(quantity),
        net_cents=(new.net_cents if new else 0) - old.net_cents,
        vat_cents=(new.vat_cents if new else 0) - old.vat_cents,
    )
