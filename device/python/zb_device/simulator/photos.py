"""A light device's uploads: tus with creation and checksum, the whole photo in one part, nothing kept on disk.

The SDK's `uploads` resumes and retries by file; a simulated fleet makes the bytes again and sends what is missing at its next
contact.
"""

import base64
import hashlib
import time

import httpx

from zb_device.faults import Refused, Unreachable
from zb_device.keys import DeviceKeys
from zb_device.sessions import refusal
from zb_device.settings import Pinned, Session
from zb_device.uploads import PATH, TIMEOUT_S, TUS_VERSION


async def upload(client: httpx.AsyncClient, pinned: Pinned, keys: DeviceKeys, session: Session, data: bytes, mime: str) -> None:
    """Returns when the evidence store holds these bytes, verified. Unreachable, or Refused with the server's code."""
    sha256 = hashlib.sha256(data)
    metadata = f"sha256 {_base64(sha256.hexdigest().encode())},mime {_base64(mime.encode())}"
    made = await _request(
        client,
        (pinned, keys, session),
        ("POST", pinned.media_url + PATH, b""),
        {"Upload-Length": str(len(data)), "Upload-Metadata": metadata},
    )
    place = httpx.URL(pinned.media_url + PATH).join(made.headers.get("Location", ""))
    if made.headers.get("Upload-Offset") == str(len(data)):
        return
    sent = await _request(
        client,
        (pinned, keys, session),
        ("PATCH", str(place), data),
        {
            "Upload-Offset": "0",
            "Upload-Checksum": f"sha256 {_base64(sha256.digest())}",
            "Content-Type": "application/offset+octet-stream",
        },
    )
    if sent.headers.get("Upload-Offset") != str(len(data)):
        raise Refused("the store does not hold the whole photo", problem="media.offset", may_retry=True)


async def _request(
    client: httpx.AsyncClient,
    who: tuple[Pinned, DeviceKeys, Session],
    what: tuple[str, str, bytes],
    headers: dict[str, str],
) -> httpx.Response:
    (pinned, keys, session), (method, url, body) = who, what
    proof = keys.request_headers(
        device=pinned.device,
        token=session.token,
        method=method,
        path=httpx.URL(url).path,
        body=body,
        real_ms=time.time_ns() // 1_000_000,
        covered=headers,
    )
    try:
        response = await client.request(
            method, url, content=body, headers={"Tus-Resumable": TUS_VERSION, **proof, **headers}, timeout=TIMEOUT_S
        )
    except httpx.HTTPError as fault:
        raise Unreachable(f"{url} cannot be reached: {fault or type(fault).__name__}") from fault
    if response.status_code >= 300:
        raise refusal(response)
    return response


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
