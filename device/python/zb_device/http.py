"""The device's way to HTTP: a request and its whole answer, within a size and a time, because the way may be a stranger's.

An answer is as long as it is sent, never unpacked, and read no further than its limit. What it says is the caller's matter.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import httpx

from zb_device.faults import Refused, Unreachable

ANSWER_BYTES_MAX: Final = 256 * 1024
"""Nothing that the platform answers over HTTP is longer."""
EXCHANGE_S_MAX: Final = 600.0
"""Of a whole request with its answer. Each step has its own, shorter time, which a server that drips never lets pass."""
NO_PARAMETERS: Final[Mapping[str, str]] = {}
OF_TRANSFER: Final = ("content-encoding", "transfer-encoding")
"""Headers by which an answer would be unpacked after all."""


def bounded_client() -> httpx.AsyncClient:
    """A client for strangers' servers; close it."""
    return httpx.AsyncClient(transport=_Bounded(), follow_redirects=False)


class _Bounded(httpx.AsyncHTTPTransport):
    """Brings an answer whole and as it was sent. Refused (`http.answer`) for one that is too long."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async with asyncio.timeout(EXCHANGE_S_MAX):
            response = await super().handle_async_request(request)
            try:
                content = await _read(response, request.url)
            finally:
                await response.aclose()
        told = {name: value for name, value in response.headers.items() if name not in OF_TRANSFER}
        return httpx.Response(response.status_code, headers=told, content=content)


async def _read(response: httpx.Response, url: httpx.URL) -> bytes:
    content = bytearray()
    async for block in response.aiter_raw():
        content += block
        if len(content) > ANSWER_BYTES_MAX:
            text = f"the answer of {url} has more than {ANSWER_BYTES_MAX} bytes"
            raise Refused(text, problem="http.answer", may_retry=True)
    return bytes(content)


async def answered(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    body: bytes = b"",
    parameters: Mapping[str, str] = NO_PARAMETERS,
    timeout_s: float,
) -> httpx.Response:
    """The answer, whatever its status. Unreachable without one; Refused by the client's limits."""
    said = {**headers, "Accept-Encoding": "identity"}
    try:
        return await client.request(method, url, content=body, params=parameters or None, headers=said, timeout=timeout_s)
    except (httpx.HTTPError, TimeoutError) as fault:
        raise Unreachable(f"{url} cannot be reached: {fault or type(fault).__name__}") from fault
