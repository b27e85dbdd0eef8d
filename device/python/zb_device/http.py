"""One HTTP request of the device and its whole answer, within a size and a time: the way may be a stranger's.

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
    """The answer, whatever its status. Unreachable without one; Refused (`http.answer`) for one that is too long."""
    asked = client.build_request(
        method,
        url,
        content=body,
        params=parameters or None,
        headers={**headers, "Accept-Encoding": "identity"},
        timeout=timeout_s,
    )
    try:
        async with asyncio.timeout(EXCHANGE_S_MAX):
            response = await client.send(asked, stream=True)
            try:
                content = await _read(response, url)
            finally:
                await response.aclose()
    except (httpx.HTTPError, TimeoutError) as fault:
        raise Unreachable(f"{url} cannot be reached: {fault or type(fault).__name__}") from fault
    # Without the headers of the transfer, by which it would be unpacked after all.
    told = {name: value for name, value in response.headers.items() if name not in ("content-encoding", "transfer-encoding")}
    return httpx.Response(response.status_code, headers=told, content=content, request=asked)


async def _read(response: httpx.Response, url: str) -> bytes:
    content = bytearray()
    async for block in response.aiter_raw():
        content += block
        if len(content) > ANSWER_BYTES_MAX:
            text = f"the answer of {url} has more than {ANSWER_BYTES_MAX} bytes"
            raise Refused(text, problem="http.answer", may_retry=True)
    return bytes(content)
