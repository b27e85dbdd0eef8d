"""A relay as a process of its own, to be killed: it publishes, says "published" after the given payload, and hangs there.

Arguments: DSN, broker URL, the file with the broker's credentials, the payload after which to hang.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from zb_chassis.broker import connect
from zb_chassis.claims import Credentials
from zb_chassis.database import open_pool
from zb_chassis.relay import Relay, RelayLimits


async def main(dsn: str, url: str, credentials: Path, fatal: str) -> None:
    pool = await open_pool(dsn, application_name="relay_process")
    client = await connect(url, Credentials.read(credentials))
    jetstream = client.jetstream()

    class Hanging:
        async def publish(self, subject: str, payload: bytes = b"", timeout: float | None = None, **options: Any) -> Any:
            answer = await jetstream.publish(subject, payload, timeout, **options)
            if payload == fatal.encode():
                sys.stdout.write("published\n")
                sys.stdout.flush()
                await asyncio.Event().wait()
            return answer

    await Relay(pool, Hanging(), limits=RelayLimits(lease_s=1.0)).run(asyncio.Event())


asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
