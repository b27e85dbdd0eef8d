"""The exchange of data subjects' keys, after a sync: the ledger's statement, what custody gives and takes back, what it is given.

It follows the scope, and is no part of sending: that custody cannot be reached holds nothing up. While reading is locked it only
hands in what is boxed for custody. What keys are for is `subject_keys`' matter.
"""

from dataclasses import dataclass
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel

from zb_contracts.faults import CryptoFault
from zb_contracts.keys import open_sealed
from zb_contracts.sealed import from_base64url
from zb_contracts.subject_keys import (
    DEPOSITS_PATH,
    HELD_MAX,
    KEYS_PATH,
    STATEMENT_PATH,
    DeliveredKey,
    DepositAnswer,
    DepositRequest,
    KeysAnswer,
    KeysRequest,
    ScopeStatement,
    SignedStatement,
    StatementRequest,
    read_statement,
)
from zb_device.faults import Refused
from zb_device.folder import Parts
from zb_device.opened import Opened
from zb_device.reading import ReadModel
from zb_device.sessions import post
from zb_device.settings import Custody
from zb_device.subject_keys import HeldKey
from zb_device.trust import ledger_keys

ROUNDS_MAX: Final = 16
"""Answers of one exchange; what is left comes with the next."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class KeyExchange:
    """One device's side of it."""

    parts: Parts
    client: httpx.AsyncClient

    async def run(self, opened: Opened | None) -> int:
        """Hand in, fetch, forget; how many keys came or went. Unreachable or Refused: the next exchange goes on."""
        if opened is None:
            return await self._hand_in(None)
        technician = opened.unlocked.technician
        if self.parts.sessions.current().technician != technician:
            return await self._hand_in(opened)
        signed = await self._stated(technician)
        moved = await self._hand_in(opened)
        for _ in range(ROUNDS_MAX):
            answer = await self._fetched(signed, opened.reading)
            if answer is None:
                break
            opened.reading.keys.put(self._opened(answer.keys))
            opened.reading.keys.drop(answer.gone)
            moved += len(answer.keys) + len(answer.gone)
            if not answer.more:
                break
        return moved

    async def _stated(self, technician: str) -> SignedStatement:
        """The ledger's statement, believed; where custody is now, is kept."""
        body = StatementRequest(device=self.parts.pinned.device, technician=technician).model_dump_json().encode()
        signed = await self.parts.sessions.post(self.client, STATEMENT_PATH, body, SignedStatement)
        statement = self._believed(signed, technician)
        url, key = statement.custody_url.rstrip("/"), from_base64url(statement.custody_key)
        self.parts.deposits.know(Custody(url=url, key=key))
        return signed

    def _believed(self, signed: SignedStatement, technician: str) -> ScopeStatement:
        parts, real_ms = self.parts, self.parts.real_time()
        try:
            statement = read_statement(signed, ledger_keys(parts.pinned, real_ms), real_ms)
        except CryptoFault as fault:
            raise Refused(f"the scope statement cannot be believed: {fault}", problem=fault.code) from fault
        if (statement.device, statement.technician) != (parts.pinned.device, technician):
            raise Refused("the scope statement is about another device or technician", problem="statement.answer")
        if from_base64url(statement.wrap_key) != parts.keys.wrap.public:
            raise Refused("the scope statement names another incarnation's wrap key", problem="statement.key")
        return statement

    async def _fetched(self, signed: SignedStatement, reading: ReadModel) -> KeysAnswer | None:
        """None where reading was locked, before it was asked or while the answer was on its way."""
        if not reading.is_open:
            return None
        own = self.parts.deposits.kids()
        held = tuple(kid for kid in reading.keys.kids() if kid not in own)[:HELD_MAX]
        asked = KeysRequest(device=self.parts.pinned.device, statement=signed, held=held)
        answer = await self._post(KEYS_PATH, asked, KeysAnswer)
        return answer if reading.is_open else None

    async def _hand_in(self, opened: Opened | None) -> int:
        custody, count = self.parts.deposits.custody, 0
        if custody is None:
            return 0
        technician, reader = (opened.unlocked.technician, opened.unlocked.reader) if opened else (None, None)
        for _ in range(ROUNDS_MAX):
            ready = self.parts.deposits.ready(custody, technician, reader)
            if not ready:
                break
            asked = DepositRequest(device=self.parts.pinned.device, deposits=tuple(ready))
            answer = await self._post(DEPOSITS_PATH, asked, DepositAnswer)
            self.parts.deposits.forget(answer.taken)
            self.parts.deposits.put_off([one.kid for one in answer.refused])
            count += len(answer.taken)
            if not answer.taken:
                code = answer.refused[0].code if answer.refused else "custody.answer"
                raise Refused(f"custody did not take {len(ready)} keys ({code})", problem=code, may_retry=True)
        return count

    def _opened(self, delivered: tuple[DeliveredKey, ...]) -> list[HeldKey]:
        private = self.parts.keys.wrap.private
        try:
            return [
                HeldKey(
                    kid=one.kid,
                    key=open_sealed(private, from_base64url(one.wrapped)),
                    subject=one.subject,
                    purpose=one.purpose,
                    used_from_ms=one.used_from_ms,
                    used_until_ms=one.used_until_ms,
                )
                for one in delivered
            ]
        except CryptoFault as fault:
            raise Refused(f"custody sent a box that does not open: {fault}", problem=fault.code) from fault

    async def _post(self, path: str, asked: BaseModel, answer: type[M]) -> M:
        custody = self.parts.deposits.custody
        assert custody is not None  # whoever calls has read it
        body = asked.model_dump_json().encode()
        url = custody.url + path
        return await post(self.client, url, body, answer, self.parts.sessions.proof("POST", httpx.URL(url).path, body))
