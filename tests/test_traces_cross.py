"""A trace crosses HTTP and NATS: one command of the office is one trace, through scheduling's outbox into field-ingest.

A small real OTLP collector listens; two services of the shared platform are restarted with its address, and without it at the
end.
"""

from collections.abc import Iterator

import httpx
import pytest

from tests.fixtures.collector import Collector, Seen, traced
from zb.play.stage import Stage, in_thread, until

TRACED = ("field-ingest", "scheduling")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SITE = "reference,name,street,postcode,town,country\nTRACED-1,Le Fil,1 rue du Four,26420,Vassieux,FR\n"


@pytest.fixture(scope="module")
def collector(platform: Stage) -> Iterator[Collector]:
    """field-ingest and scheduling export their spans to it."""
    with traced(platform, TRACED) as found:
        yield found


async def test_one_command_of_the_office_is_one_trace_from_http_to_the_ledger(platform: Stage, collector: Collector) -> None:
    status = await in_thread(import_traced, platform)
    assert status == 200

    def whole() -> list[Seen]:
        spans = [span for span in collector.spans() if span.trace == TRACE]
        return spans if {span.service for span in spans} >= set(TRACED) else []

    spans = {span.service: span for span in await until("the trace is in both services", whole)}
    edge, settled = spans["scheduling"], spans["field-ingest"]
    assert edge.name == "POST /v1/imports/sites"
    assert edge.parent == CALLER  # HTTP in: continued from the caller
    assert settled.parent == edge.span  # NATS: through the outbox, the relay and JetStream


async def test_requests_without_a_trace_begin_their_own(platform: Stage, collector: Collector) -> None:
    url = platform.url("scheduling", "nothing/here")
    for _ in range(2):
        await in_thread(httpx.get, url)

    def both() -> list[Seen]:
        spans = [span for span in collector.spans() if span.name == "GET /v1/nothing/here"]
        return spans if len(spans) == 2 else []

    first, second = await until("both spans are exported", both)
    assert first.trace != second.trace
    assert first.parent == second.parent == ""


def import_traced(stage: Stage) -> int:
    """An import as a caller that is traced itself would send it."""
    headers = {"Content-Type": "text/csv", "traceparent": f"00-{TRACE}-{CALLER}-01"}
    person = stage.person("integrator")
    report = person.call("POST", stage.url("scheduling", "imports/sites"), content=SITE.encode(), headers=headers)
    return 200 if report["taken"] == 1 else 0
