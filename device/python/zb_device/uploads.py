"""Uploading evidence: tus 1.0.0 with creation and checksum, by hash, resumable, a bounded number of tries for each file.

A device that is locked, or whose technician has no session, cannot open its files: it sends the encrypted chunks as they lie
there, with the ledger's word on their key (a handover). A file counts as stored only when the server shows the whole length as
its offset: it does so for verified bytes alone. It reads chunks from `media` and keeps no state of its own.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from zb_contracts.handover import CHUNK_BYTES, CHUNK_TYPE, METADATA_KEY, HandoverRequest, SignedHandover
from zb_contracts.handover import PATH as HANDOVER_PATH
from zb_contracts.keys import WrapKey
from zb_contracts.problems import (
    DEVICE_PROOF_INVALID,
    DEVICE_PROOF_TIME,
    DEVICE_SUSPENDED,
    FILE_UNNAMED,
    INPUT_NOT_FOUND,
    MEDIA_HANDOVER,
    MEDIA_HASH,
    MEDIA_OFFSET,
    MEDIA_QUOTA,
    MEDIA_STORED,
    RATE_LIMITED,
    UNAUTHENTICATED,
)
from zb_contracts.sealed import to_base64url
from zb_device.faults import DeviceFault, DiskFailing, Refused, StoreDamaged, Unreachable
from zb_device.http import answered
from zb_device.media import MediaItem, MediaStore
from zb_device.outbox import OpenReader
from zb_device.sessions import Sessions, refusal
from zb_device.settings import Pinned

PATH: Final = "/v1/uploads"
TUS_VERSION: Final = "1.0.0"
PART_TYPE: Final = "application/offset+octet-stream"
TIMEOUT_S: Final = 30.0
TRIES_MAX: Final = 12
PARTS_MAX: Final = 512
"""Parts and corrections of one try; a server that never gets further ends there."""

_BEGIN_AGAIN: Final = frozenset({MEDIA_HASH.code, INPUT_NOT_FOUND.code, "http.404"})
"""The server has dropped what it had of the upload."""
_UNPROVEN: Final = frozenset({UNAUTHENTICATED.code, DEVICE_PROOF_INVALID.code, DEVICE_PROOF_TIME.code})
"""The session or the clock is at fault, so every file would be refused, and none of them for good."""
_NOT_YET: Final = frozenset({MEDIA_HANDOVER.code, FILE_UNNAMED.code, DEVICE_SUSPENDED.code})
"""The ledger has no event that names the file yet, or does not hand it over now."""
_WAITING: Final = frozenset({MEDIA_QUOTA.code, MEDIA_STORED.code, RATE_LIMITED.code})
"""The server wants others, or time, first: no try of the file's own."""


@dataclass(frozen=True, slots=True)
class Uploader:
    """One device's uploads."""

    media: MediaStore
    pinned: Pinned
    sessions: Sessions

    async def run(self, client: httpx.AsyncClient, reader: OpenReader | None, may_go: Callable[[], bool]) -> int:
        """Try each waiting file once; how many are stored now. What the reader cannot open is handed over.

        Before each part it asks whether it still `may_go`: a large file does not go on over a link that became dear.

        Unreachable ends the pass, and so does Refused when the server does not take session or proof.
        """
        stored = 0
        for item in self.media.waiting():
            can_open = reader is not None and item.reader == reader.technician and item.for_reader is not None
            try:
                if not await self._upload(client, item, reader.key if reader and can_open else None, may_go):
                    break
                stored += 1
            except Unreachable:
                raise
            except Refused as fault:
                self._refused(item, fault)
                if fault.problem in _UNPROVEN:
                    raise
            except StoreDamaged as fault:
                self.media.failed(item.sha256, fault.code, str(fault))
            except DiskFailing as fault:
                self._tried(item, fault.code, fault)
        return stored

    def _refused(self, item: MediaItem, fault: Refused) -> None:
        if fault.problem in _UNPROVEN | _WAITING | _NOT_YET:
            self.media.put_off(item.sha256, fault.problem, str(fault))
            return
        if fault.problem in _BEGIN_AGAIN:
            self.media.begin_again(item.sha256)
        elif not fault.retryable:
            self.media.failed(item.sha256, fault.problem, str(fault))
            return
        self._tried(item, fault.problem, fault)

    def _tried(self, item: MediaItem, code: str, fault: DeviceFault) -> None:
        if item.tries + 1 >= TRIES_MAX:
            self.media.failed(item.sha256, code, f"given up after {TRIES_MAX} tries: {fault}")
        else:
            self.media.tried(item.sha256, code, str(fault))

    async def _upload(
        self, client: httpx.AsyncClient, item: MediaItem, reader: WrapKey | None, may_go: Callable[[], bool]
    ) -> bool:
        """Whether it is stored; False where it may not go on now."""
        if not may_go():
            return False
        url, offset = item.upload_url, -1
        if url is None or reader is None:
            # An upload that was begun in the clear goes on in encrypted chunks once it is handed over.
            url = await self._create(client, item, None if reader else await self._handed_over(client, item))
            self.media.begun(item.sha256, url)
        for _ in range(PARTS_MAX):
            if offset < 0:
                offset = await self._offset(client, url)
            if offset == item.length_bytes:
                # The answer to the last part may have been another server's: ask once more before our bytes go.
                if await self._offset(client, url) == item.length_bytes:
                    self.media.stored(item.sha256)
                    return True
                break
            if not may_go():
                return False
            offset = await self._send_part(client, url, item, reader, offset)
        raise Refused("the upload does not get further", problem=MEDIA_OFFSET.code, may_retry=True)

    async def _handed_over(self, client: httpx.AsyncClient, item: MediaItem) -> SignedHandover:
        """The ledger's word on the file, which one of this device's events names. Refused while it has no such event."""
        box = to_base64url(self.media.escrow_box(item.sha256))
        body = HandoverRequest(device=self.pinned.device, sha256=item.sha256, box=box).model_dump_json().encode()
        return await self.sessions.post(client, HANDOVER_PATH, body, SignedHandover)

    async def _create(self, client: httpx.AsyncClient, item: MediaItem, handover: SignedHandover | None) -> str:
        said = {"sha256": item.sha256, "mime": item.mime}
        if handover is not None:
            said[METADATA_KEY] = handover.model_dump_json()
        metadata = ",".join(f"{key} {_base64(value.encode())}" for key, value in said.items())
        headers = {"Upload-Length": str(item.length_bytes), "Upload-Metadata": metadata}
        response = await self._request(client, "POST", self.pinned.media_url + PATH, b"", headers)
        base = httpx.URL(self.pinned.media_url + PATH)
        place = base.join(response.headers.get("Location", ""))
        if (place.scheme, place.host, place.port) != (base.scheme, base.host, base.port) or place.path == base.path:
            raise Refused("the server named no place of its own for the upload", problem="media.location")
        return str(place)

    async def _offset(self, client: httpx.AsyncClient, url: str) -> int:
        response = await self._request(client, "HEAD", url, b"", {})
        return _offset_of(response)

    async def _send_part(self, client: httpx.AsyncClient, url: str, item: MediaItem, reader: WrapKey | None, offset: int) -> int:
        """Send the rest of the chunk at `offset`; the new offset, or -1 where the server has to be asked for it."""
        number, within = divmod(offset, CHUNK_BYTES)
        if reader is None:
            data = self.media.sealed_chunk(item.sha256, number)
        else:
            data = self.media.read_chunk(item, reader, number)[within:]
        headers = {
            "Upload-Offset": str(offset),
            "Upload-Checksum": f"sha256 {_base64(hashlib.sha256(data).digest())}",
            "Content-Type": CHUNK_TYPE if reader is None else PART_TYPE,
        }
        try:
            response = await self._request(client, "PATCH", url, data, headers)
        except Refused as fault:
            if fault.problem == MEDIA_OFFSET.code:
                return -1
            raise
        return _offset_of(response)

    async def _request(
        self, client: httpx.AsyncClient, method: str, url: str, body: bytes, headers: dict[str, str]
    ) -> httpx.Response:
        proof = self.sessions.proof(method, httpx.URL(url).path, body, headers)
        said = {"Tus-Resumable": TUS_VERSION, **proof, **headers}
        response = await answered(client, method, url, said, body=body, timeout_s=TIMEOUT_S)
        if response.status_code >= 300:
            raise refusal(response)
        return response


def _offset_of(response: httpx.Response) -> int:
    text = response.headers.get("Upload-Offset", "")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused("the server named no offset", problem="media.answer", may_retry=True)
    return int(text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
