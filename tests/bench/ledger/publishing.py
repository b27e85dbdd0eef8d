"""The publisher of the full-rate measurement, a process of its own: pre-signed segments, as fast as the broker stores them.

`python -m tests.bench.ledger.publishing JOB.json` publishes the files in turns with a window of unanswered messages, and says
at its end what it did, one line of JSON.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg

from tests.bench.ledger.corpus import interleaved
from zb_contracts.segment import MESSAGE_ID_HEADER

WINDOW: Final = 256
"""Messages that are published and not yet stored."""
STORED_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """What to publish, and where. `credentials` is the text of a credentials file."""

    url: str
    credentials: str
    files: list[str]


@dataclass
class Publisher:
    """One connection with a window of messages whose acknowledgement is awaited."""

    client: Client
    inbox: str
    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WINDOW))
    refused: list[str] = field(default_factory=list)

    async def run(self, files: list[Path]) -> dict[str, Any]:
        """Publishes everything; counts, and when it began and ended (seconds since 1970)."""
        await self.client.subscribe(self.inbox, cb=self._stored)
        began, messages, events, size = time.time(), 0, 0, 0
        for segment in interleaved(files):
            await asyncio.wait_for(self.free.acquire(), STORED_S)
            headers = {MESSAGE_ID_HEADER: segment.message_id}
            await self.client.publish(segment.subject, segment.data, reply=self.inbox, headers=headers)
            messages, events, size = messages + 1, events + segment.events, size + len(segment.data)
        for _ in range(WINDOW):
            await asyncio.wait_for(self.free.acquire(), STORED_S)
        if self.refused:
            raise RuntimeError(f"{len(self.refused)} messages were not stored, the first: {self.refused[0]}")
        return {"began": began, "ended": time.time(), "messages": messages, "events": events, "bytes": size}

    async def _stored(self, message: Msg) -> None:
        if b'"error"' in message.data:
            self.refused.append(message.data.decode())
        self.free.release()


async def publish(job: Job) -> dict[str, Any]:
    """Connects, publishes the job's files, closes."""
    client = Client()
    await client.connect(
        job.url, user_credentials=RawCredentials(job.credentials), inbox_prefix=b"_INBOX.bench", pending_size=64 << 20
    )
    try:
        return await Publisher(client, client.new_inbox()).run([Path(file) for file in job.files])
    finally:
        await client.close()


async def publish_apart(job: Job, folder: Path) -> dict[str, Any]:
    """The same in a process of its own. Raises with its last words when it fails."""
    path = folder / "job.json"
    path.write_text(json.dumps(asdict(job)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the publisher failed: {said.decode()[-2000:]}")
    return dict(json.loads(out))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(publish(Job(**json.loads(Path(sys.argv[1]).read_text()))))))
