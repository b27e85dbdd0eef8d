"""Services, nats-server and PostgreSQL may start in any order; SIGTERM drains, and ends each process with success.

Uses the shared platform and leaves it running.
"""

from collections.abc import Iterator

import pytest

from zb.play.stage import Stage, in_thread, until
from zb.postgres import Postgres
from zb.processes import Service
from zb.stack import ISSUER


@pytest.fixture
def stopped(platform: Stage) -> Iterator[Stage]:
    """The platform with everything down but its data; brought up again at the end, whatever the test left."""
    stack = platform.stack
    port = stack.postgres.port
    for service in stack.services.values():
        service.stop()
    stack.nats.stop()
    stack.postgres.stop()
    yield platform
    Postgres(stack.postgres.data_dir, port=port).start()
    stack.nats.start()
    for name, service in stack.services.items():
        if not service.is_running:
            stack.restart(name)
        service.wait_ready()


def test_sigterm_drains_and_ends_every_process_with_success(platform: Stage) -> None:
    services = platform.stack.services.values()
    assert all(service.answers() for service in services)
    for service in services:
        service.stop()
    codes = {service.name: service.exit_code for service in services}
    for service in services:
        service.start()
    for service in services:
        service.wait_ready()
    assert codes == dict.fromkeys(codes, 0)


async def test_services_that_come_first_become_ready_when_the_servers_come(stopped: Stage) -> None:
    stack = stopped.stack
    port = int(stack.services["field-ingest"].environment["ZB_INGEST_DATABASE_URL"].rpartition(":")[2].partition("/")[0])
    for service in stack.services.values():
        service.start()
    await in_thread(stack.services[ISSUER].wait_ready)  # it needs no server
    waiting = [service for name, service in stack.services.items() if name != ISSUER]
    assert not any(service.answers() for service in waiting)
    await in_thread(stack.nats.start)
    assert all(service.is_running for service in waiting)
    assert not any(service.answers() for service in waiting)
    await in_thread(Postgres(stack.postgres.data_dir, port=port).start)
    for service in waiting:
        await in_thread(service.wait_ready)
    await works(stopped)


async def test_services_start_in_reverse_order_with_the_broker_last(stopped: Stage) -> None:
    stack = stopped.stack
    port = int(stack.services["field-ingest"].environment["ZB_INGEST_DATABASE_URL"].rpartition(":")[2].partition("/")[0])
    await in_thread(Postgres(stack.postgres.data_dir, port=port).start)
    for service in reversed(stack.services.values()):
        service.start()
    scheduling = stack.services["scheduling"]
    await in_thread(scheduling.wait_ready)  # the office works as soon as its database does
    await in_thread(stack.services[ISSUER].wait_ready)
    await in_thread(import_site, stopped, "ORDER-1")
    await in_thread(stack.nats.start)
    for service in stack.services.values():
        await in_thread(service.wait_ready)
    await works(stopped)


async def test_a_service_whose_port_is_taken_says_so_and_ends(platform: Stage) -> None:
    service = platform.stack.services["media"]
    second = Service("media again", service.arguments, service.port, service.environment, platform.stack.folder / "second.log")
    second.start()
    await until("the second one has ended", lambda: second.exit_code is not None)
    assert second.exit_code != 0
    assert f"port {service.port}" in second.last_words()
    assert "in use" in second.last_words()
    assert service.is_running


async def works(stage: Stage) -> None:
    """What the office does reaches the ledger: everything between them is up."""
    before = await in_thread(size, stage)
    await in_thread(import_site, stage, f"ORDER-{before}")
    await until("the new site stands in the ledger", lambda: size(stage) > before)


def import_site(stage: Stage, reference: str) -> None:
    head = "reference,name,street,postcode,town,country,latitude,longitude"
    row = f"{reference},Le Relais,1 rue du Four,26420,Vassieux,FR,45.1,5.3"
    url = stage.url("scheduling", "imports/sites")
    report = stage.person("integrator").post_csv(url, f"{head}\n{row}\n".encode(), agency="main", mode="all-or-nothing")
    assert report["taken"] == 1


def size(stage: Stage) -> int:
    """How many rows the ledger has."""
    shards = stage.person("auditor").get(stage.url("field-ingest", "states/progress"))["shards"]
    return sum(int(shard["size"]) for shard in shards.values())
