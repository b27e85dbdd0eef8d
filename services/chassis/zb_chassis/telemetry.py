"""Traces and metrics: spans cross NATS and HTTP as W3C traceparent; off unless an exporter is set.

`OTEL_EXPORTER_OTLP_ENDPOINT` switches export on. Metrics are Prometheus', exposed by `http` at /metrics. It names no span of a
service's own work.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

ENDPOINT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"

_tracer = trace.get_tracer("zb")


def configure(service: str, exporter: SpanExporter | None = None) -> TracerProvider | None:
    """Switch tracing on where an exporter is given or the endpoint variable is set; else spans cost nothing."""
    if exporter is None and not os.environ.get(ENDPOINT_VARIABLE):
        return None
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter or _otlp()))
    trace.set_tracer_provider(provider)
    return provider


def _otlp() -> SpanExporter:
    # Imported late: an HTTP client of its own and protobuf, for the few processes that export.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int) -> Iterator[Span]:
    """A span under the current one; a fault inside marks it."""
    with _tracer.start_as_current_span(name, kind=kind, attributes=attributes) as current:
        yield current


def inject(headers: MutableMapping[str, str]) -> MutableMapping[str, str]:
    """Add the current trace to the headers of a message that leaves (NATS or HTTP)."""
    propagate.inject(headers)
    return headers


@contextmanager
def continued(name: str, headers: Mapping[str, str] | None, kind: SpanKind = SpanKind.CONSUMER) -> Iterator[Span]:
    """A span that continues the trace in a received message's headers."""
    token = context.attach(propagate.extract({key.lower(): value for key, value in (headers or {}).items()}))
    try:
        with span(name, kind) as current:
            yield current
    finally:
        context.detach(token)


class TraceRequests:
    """ASGI middleware: a server span a request, continued from the caller's headers."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in {"/health", "/ready", "/metrics"}:
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        with continued(f"{scope['method']} {scope['path']}", headers, SpanKind.SERVER) as current:

            async def noting(message: Any) -> None:
                if message["type"] == "http.response.start":
                    current.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        current.set_status(Status(StatusCode.ERROR))
                await send(message)

            await self._app(scope, receive, noting)
