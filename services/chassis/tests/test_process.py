"""The life of a process: SIGTERM drains, a dead task ends it with its name, wrong settings and a taken port are one sentence."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import httpx
import pytest

DEADLINE_S = 30.0

PROGRAM = """
import asyncio, sys
from fastapi import APIRouter
from zb_chassis import lifecycle, logs
from zb_chassis.http import PUBLIC, application

logs.configure("test")
routes = APIRouter()
release = asyncio.Event()

@routes.get("/slow", dependencies=[PUBLIC])
async def slow():
    print("slow begins", flush=True)
    await release.wait()
    return "finished"

async def ready(): ...

async def work(stop):
    await stop.wait()
    release.set()
    print("work drained", flush=True)

async def dies(stop):
    raise RuntimeError("the disk is full")

async def returns(stop):
    return

tasks = {"work": work} | {"mine": globals()[name] for name in sys.argv[2:]}
asyncio.run(lifecycle.serve(application("test", [routes], ready=ready), "127.0.0.1", int(sys.argv[1]), tasks))
"""


def start(port: int, *tasks: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM, str(port), *tasks]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_http(port: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("no answer in time")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_is_in_flight_then_ends(port: int, number: signal.Signals) -> None:
    with start(port) as process:
        wait_for_http(port)
        request = f"import httpx; print(httpx.get('http://127.0.0.1:{port}/slow', timeout=30).text)"
        with subprocess.Popen([sys.executable, "-c", request], stdout=subprocess.PIPE, text=True) as caller:
            assert process.stdout is not None
            assert process.stdout.readline() == "slow begins\n"
            process.send_signal(number)
            assert caller.communicate(timeout=DEADLINE_S)[0] == '"finished"\n'
        said = process.communicate(timeout=DEADLINE_S)[0]
    assert (process.returncode, said) == (0, "work drained\n")


@pytest.mark.parametrize(("task", "reason"), [("dies", "the disk is full"), ("returns", "too early")])
def test_a_task_that_ends_ends_the_process_with_its_name(port: int, task: str, reason: str) -> None:
    with start(port, task) as process:
        said, complained = process.communicate(timeout=DEADLINE_S)
    assert process.returncode != 0
    assert said == "work drained\n"
    assert f"TaskDied: the task mine has ended: {reason}" in complained


def test_a_port_in_use_is_named(port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with start(port) as process:
            complained = process.communicate(timeout=DEADLINE_S)[1]
    assert process.returncode != 0
    assert f"port {port} on 127.0.0.1 is in use: give another one" in complained


SETTINGS = """
from pydantic_settings import SettingsConfigDict
from zb_chassis.config import ServiceSettings, load
class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="ZB_TEST_", frozen=True, extra="ignore")
print(repr(load(Settings)))
"""
GOOD = {
    "ZB_TEST_DATABASE_URL": "postgresql://anna:hunter2@127.0.0.1/test",
    "ZB_TEST_NATS_URL": "nats://127.0.0.1:4222",
    "ZB_TEST_NATS_CREDS": "/tmp/test.creds",
    "ZB_TEST_HTTP_PORT": "8080",
    "ZB_TEST_OIDC_ISSUER": "http://127.0.0.1:8081",
    "ZB_TEST_KEYS_DIR": "/tmp/keys",
    "ZB_TEST_DATA_DIR": "/tmp/data",
}


def settings(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    values = {"PATH": os.environ["PATH"]} | environment
    return subprocess.run([sys.executable, "-c", SETTINGS], env=values, capture_output=True, text=True, check=False)


def test_good_settings_are_read_and_their_secrets_are_not_shown() -> None:
    read = settings(GOOD)
    assert (read.returncode, read.stderr) == (0, "")
    assert "hunter2" not in read.stdout


@pytest.mark.parametrize(
    ("key", "value"), [("HTTP_PORT", "many"), ("HTTP_PORT", "70000"), ("LOG_FORMAT", "xml"), ("DATABASE_URL", None)]
)
def test_a_wrong_setting_names_its_key_and_ends_the_process(key: str, value: str | None) -> None:
    name = f"ZB_TEST_{key}"
    wrong = {other: kept for other, kept in GOOD.items() if other != name} | ({} if value is None else {name: value})
    ended = settings(wrong)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{name}: ")
    assert "hunter2" not in ended.stderr


TRACED = """
import asyncio, json, sys, logging
import httpx, structlog
from fastapi import APIRouter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from zb_chassis import logs, telemetry
from zb_chassis.http import PUBLIC, application

exporter = InMemorySpanExporter()
provider = telemetry.configure("test", exporter)
logs.configure("test")
routes = APIRouter()
sent = {}

@routes.get("/act", dependencies=[PUBLIC])
async def act():
    with telemetry.span("publish"):
        telemetry.inject(sent)
    structlog.get_logger().info("ours")
    logging.getLogger("theirs").warning("a library's")

async def ready(): ...

async def main():
    parent = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    app = application("test", [routes], ready=ready)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        await client.get("/act", headers=parent)
    try:
        with telemetry.continued("receive", {"Traceparent": sent["traceparent"]}):
            raise RuntimeError("poison")
    except RuntimeError:
        pass
    with telemetry.continued("receive malformed", {"traceparent": "nonsense"}):
        pass

asyncio.run(main())
provider.force_flush()
spans = [(s.name, f"{s.context.trace_id:032x}", s.status.status_code.name) for s in exporter.get_finished_spans()]
print(json.dumps(spans))
"""


def test_one_trace_leads_through_http_a_message_and_the_logs() -> None:
    ran = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    spans = {name: (trace, status) for name, trace, status in json.loads(ran.stdout)}
    trace = "a" * 32
    assert (spans["publish"][0], spans["GET /act"][0], spans["receive"]) == (trace, trace, (trace, "ERROR"))
    assert spans["receive malformed"][0] != trace
    lines = {line["event"]: line for line in map(json.loads, ran.stderr.splitlines())}
    assert lines["ours"]["trace_id"] == lines["a library's"]["trace_id"] == trace
    assert lines["ours"]["service"] == lines["a library's"]["service"] == "test"


def test_nothing_is_exported_unless_an_endpoint_is_set() -> None:
    program = textwrap.dedent(
        """
        from zb_chassis import telemetry
        assert telemetry.configure("test") is None
        with telemetry.span("act") as span:
            assert not span.is_recording()
        """
    )
    ran = subprocess.run([sys.executable, "-c", program], env={"PATH": os.environ["PATH"]}, check=False)
    assert ran.returncode == 0
