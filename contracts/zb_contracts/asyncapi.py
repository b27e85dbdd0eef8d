"""The AsyncAPI 3 document of the platform: every subject with its parameters, its messages and its JetStream limits.

It is built from `subjects`, the events and the announcements, not scanned from running subscribers, because a scan omits
address parameters and JetStream detail and would show one service at a time.
"""

from typing import Any, Final

from zb_contracts import announcements, subjects
from zb_contracts.envelope import BODY_BYTES_MAX
from zb_contracts.events import EVENT_TYPES
from zb_contracts.schemas import ANNOUNCEMENTS
from zb_contracts.segment import SEGMENT_BYTES_MAX, SEGMENT_EVENTS_MAX
from zb_contracts.subjects import StreamSpec
from zb_contracts.sync import ANSWER_BYTES_MAX, REQUEST_BYTES_MAX

VERSION: Final = "1.0.0"
Document = dict[str, Any]

# channel, address, parameters with what they mean, messages, stream (None: core NATS), who sends
_CHANNELS: Final = (
    ("field", "field.v1.{device}", {"device": "device id"}, ("segment",), subjects.FIELD, "devices"),
    ("office", "office.v1.{author}", {"author": "office or service author"}, ("segment",), subjects.OFFICE, "scheduling, bridge"),
    (
        "interventions",
        "interventions.v1.{intervention}",
        {"intervention": "UUID"},
        (announcements.INTERVENTION_STATE,),
        subjects.INTERVENTIONS,
        "field-ingest",
    ),
    (
        "reference",
        "reference.v1.{kind}",
        {"kind": "price-list, contracts, checklist ..."},
        (
            announcements.PRICE_LIST,
            announcements.CONTRACTS,
            announcements.CHECKLIST,
            announcements.PICTURES_ERASED,
            announcements.PARTS,
            announcements.REASONS,
        ),
        subjects.REFERENCE,
        "scheduling",
    ),
    (
        "evidence",
        "evidence.v1.{intervention}",
        {"intervention": "UUID"},
        (announcements.EVIDENCE_STATE,),
        subjects.EVIDENCE,
        "media",
    ),
    (
        "billing",
        "billing.v1.{profile}",
        {"profile": "export profile"},
        (announcements.BATCH_FROZEN,),
        subjects.BILLING,
        "billing-bridge",
    ),
    ("deadletter", "deadletter.v1.{service}", {"service": "service name"}, ("dead-letter",), subjects.DEADLETTER, "services"),
    (
        "sync",
        "sync.v1.{device}.{technician}",
        {"device": "device id", "technician": "technician id, or `drain`"},
        ("sync-request", "sync-answer"),
        None,
        "devices",
    ),
    ("hint", "hint.v1.{device}", {"device": "device id"}, ("hint",), None, "field-ingest"),
)


def document() -> Document:
    """The whole document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Zone Blanche",
            "version": VERSION,
            "license": {"name": "Apache-2.0"},
            "description": "Signed events go up in segments, merged states come down as CloudEvents. See PROTOCOL.md.",
        },
        "defaultContentType": "application/json",
        "channels": {
            name: _channel(address, parameters, messages, stream) for name, address, parameters, messages, stream, _ in _CHANNELS
        },
        "operations": {
            f"send-{name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": f"sent by {sender}",
                **_reply(name),
            }
            for name, *_, sender in _CHANNELS
        },
        "components": {"messages": _messages()},
    }


def _channel(address: str, parameters: dict[str, str], messages: tuple[str, ...], stream: StreamSpec | None) -> Document:
    return {
        "address": address,
        "parameters": {name: {"description": text} for name, text in parameters.items()},
        "messages": {_key(name): {"$ref": f"#/components/messages/{_key(name)}"} for name in messages},
        "bindings": {"nats": _jetstream(stream) if stream else {"x-transport": "core NATS, request/reply or hint"}},
    }


def _jetstream(stream: StreamSpec) -> Document:
    return {
        "x-stream": stream.name,
        "x-owner": stream.owner,
        "x-max-age-s": stream.max_age_s,
        "x-max-bytes": stream.bytes_max,
        "x-max-message-bytes": stream.message_bytes_max,
        "x-max-messages-per-subject": stream.messages_per_subject_max,
        "x-duplicate-window-s": stream.duplicate_window_s,
        "x-discard": "new",
    }


def _reply(name: str) -> Document:
    if name != "sync":
        return {}
    return {"reply": {"channel": {"$ref": "#/channels/sync"}, "messages": [{"$ref": "#/channels/sync/messages/sync-answer"}]}}


def _messages() -> Document:
    messages: Document = {
        "segment": {
            "title": f"Up to {SEGMENT_EVENTS_MAX} consecutive signed events of one author, at most {SEGMENT_BYTES_MAX} bytes",
            "contentType": "application/msgpack",
            "payload": {
                "type": "array",
                "maxItems": SEGMENT_EVENTS_MAX,
                "items": {"type": "array", "prefixItems": [_bytes("header"), _bytes("body"), _bytes("signature")]},
            },
            "x-event-types": sorted(EVENT_TYPES),
            "x-body-bytes-max": BODY_BYTES_MAX,
        },
        "sync-request": _packed("sync-request", REQUEST_BYTES_MAX),
        "sync-answer": _packed("signed-document", ANSWER_BYTES_MAX),
        "hint": {"title": "Ask again; the body is ignored", "payload": {}},
        "dead-letter": {
            "title": "A message that no bounded number of tries could handle, byte for byte, with the reason in its headers",
            "contentType": "application/octet-stream",
            "payload": {},
        },
    }
    for name, model in ANNOUNCEMENTS.items():
        messages[_key(name)] = {
            "title": (model.__doc__ or name).strip().split("\n")[0],
            "contentType": "application/json",
            "headers": {"type": "object", "properties": {"ce-type": {"const": name}, "ce-specversion": {"const": "1.0"}}},
            "payload": {"$ref": f"json-schema/{name}.json"},
        }
    return messages


def _packed(schema: str, limit: int) -> Document:
    return {
        "title": f"MessagePack, compressed with zstd, at most {limit} bytes",
        "contentType": "application/msgpack+zstd",
        "payload": {"$ref": f"json-schema/{schema}.json"},
    }


def _bytes(what: str) -> Document:
    return {"type": "string", "format": "binary", "description": what}


def _key(name: str) -> str:
    return name.replace(".", "-")
