"""Whether an intervention is to be billed, and as what: nothing, an invoice, or an adjustment of what was billed. Pure.

One closed intervention is billed once per profile; a later change of billed facts makes an adjustment that is the difference.
What cannot be billed yet waits with a reason that a person can act on. It numbers nothing and writes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from billing_bridge.facts import Facts, Proof
from billing_bridge.rating import BilledLine, CallOut, NoPrice, Terms, difference, lines_sha256, rate
from zb_contracts.announcements import Contract, ContractsPublished, PriceListPublished
from zb_contracts.times import parse_time_ms


@dataclass(frozen=True, slots=True)
class Rules:
    """What a profile bills. `statuses`: which ends of an intervention; `account`: where no contract names one."""

    profile: str
    currency: str
    statuses: frozenset[str]
    evidence_required: bool
    account: str
    price_list: str | None
    call_out: CallOut


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference data as it is known. Price lists in every version, by code; contracts whole, by agency."""

    price_lists: Mapping[str, Sequence[PriceListPublished]]
    contracts: Mapping[str, ContractsPublished]


@dataclass(frozen=True, slots=True)
class Billed:
    """What the profile's exports of an intervention add up to, and the terms under which it was billed."""

    lines: tuple[BilledLine, ...]
    terms: Terms


@dataclass(frozen=True, slots=True)
class Waits:
    """Not to be billed yet; `reason` is a sentence for a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing to bill at this version of the state."""


@dataclass(frozen=True, slots=True)
class Bill:
    """To be billed: `lines` go into the batch, `rated` is the whole that the exports then add up to."""

    kind: Literal["invoice", "adjustment"]
    lines: tuple[BilledLine, ...]
    rated: tuple[BilledLine, ...]
    lines_sha256: str
    terms: Terms
    account: str


Decision = Waits | Settled | Bill


def decide(facts: Facts, stored: Collection[Proof], billed: Billed | None, reference: Reference, rules: Rules) -> Decision:
    """What to do with one intervention for one profile. `stored` are the proofs that the evidence store holds."""
    if not facts.closed:
        return Waits(f"the intervention is {facts.status}")
    if facts.status not in rules.statuses and billed is None:
        return Settled()
    missing = [proof for proof in facts.proofs if proof not in stored]
    if rules.evidence_required and missing:
        return Waits(f"{len(missing)} of {len(facts.proofs)} photos and signatures are not stored yet")
    try:
        terms = _terms(facts, billed, reference, rules)
        # An intervention that was billed and then ended otherwise is billed as nothing.
        rated = tuple(rate(facts, terms, rules.call_out)) if facts.status in rules.statuses else ()
    except (NoTerms, NoPrice) as fault:
        return Waits(str(fault))
    return _bill(rated, billed, terms, rules)


class NoTerms(ValueError):
    """Contract or price list are not known; the message names which."""


def _bill(rated: tuple[BilledLine, ...], billed: Billed | None, terms: Terms, rules: Rules) -> Decision:
    account = terms.contract.erp_account if terms.contract else rules.account
    if billed is None:
        return Bill("invoice", rated, rated, lines_sha256(rated), terms, account)
    lines = tuple(difference(billed.lines, rated))
    return Bill("adjustment", lines, rated, lines_sha256(rated), terms, account) if lines else Settled()


def _terms(facts: Facts, billed: Billed | None, reference: Reference, rules: Rules) -> Terms:
    contract = _contract(facts, billed, reference)
    code = facts.price_list or (contract.price_list if contract else None) or rules.price_list
    if code is None:
        raise NoTerms("neither the intervention nor a contract names a price list")
    if billed is not None and billed.terms.price_list.price_list == code:
        return Terms(billed.terms.price_list, contract)
    found = [one for one in reference.price_lists.get(code, ()) if parse_time_ms(one.valid_from) <= facts.ended_ms]
    if not found:
        raise NoTerms(f"no version of the price list {code} was valid when the work ended")
    newest = max(found, key=lambda one: (parse_time_ms(one.valid_from), one.version))
    if newest.currency != rules.currency:
        raise NoTerms(f"the price list {code} is in {newest.currency}, the profile bills in {rules.currency}")
    return Terms(newest, contract)


def _contract(facts: Facts, billed: Billed | None, reference: Reference) -> Contract | None:
    if facts.contract is None:
        return None
    if billed is not None and billed.terms.contract is not None and billed.terms.contract.contract == facts.contract:
        return billed.terms.contract
    known = reference.contracts.get(facts.agency or "")
    for contract in known.contracts if known else ():
        if contract.contract == facts.contract:
            return contract
    raise NoTerms(f"the contract {facts.contract} is not known")
