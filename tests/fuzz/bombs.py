"""Attacks on parsers, one by one and by name: nesting, numbers, spellings, encodings, declared sizes, compression.

WHOLE are complete inputs that no reader takes; VALUES stand in place of one value of a good message, in JSON and in MessagePack.
"""

import struct
from typing import Any, Final

import msgspec
import zstandard

DEEP: Final = 20_000
LONG: Final = 60_000


def _packed_sizes() -> dict[str, bytes]:
    """MessagePack heads that declare far more than follows: a reader that believes them allocates gigabytes."""
    heads = {"string": b"\xdb", "bytes": b"\xc6", "array": b"\xdd", "map": b"\xdf", "extension": b"\xc9"}
    return {f"a declared {what} of {size}": head + struct.pack(">I", size) for what, head in heads.items() for size in SIZES}


SIZES: Final = (LONG, 2**31 - 1, 2**32 - 1)


def _zstd() -> dict[str, bytes]:
    zeros = zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 20))
    lying = bytearray(zstandard.ZstdCompressor().compress(bytes(300)))
    lying[5:7] = b"\xff\xff"
    return {
        "64 MiB of zeros, compressed": zeros,
        "a frame that hides its size": unsized,
        "a frame that lies about its size": bytes(lying),
        "a frame, cut": zeros[: len(zeros) // 2],
        "a frame of nothing": zstandard.ZstdCompressor().compress(b""),
        "a frame in a frame": zstandard.ZstdCompressor().compress(zeros),
        "a skippable frame": b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
        "the largest declared size": b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8,
    }


WHOLE: Final[dict[str, bytes]] = {
    "nothing": b"",
    "a zero": b"\0",
    "zeros": bytes(LONG),
    "ones": b"\xff" * LONG,
    "spaces": b" " * LONG,
    "newlines": b"\n" * LONG,
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"v":1}'.encode("utf-16"),
    "invalid UTF-8": b'{"v":"\xff\xfe"}',
    "overlong UTF-8": b'{"v":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"v":"\xed\xa0\x80"}',
    "a lone surrogate": b'{"v":"\\ud800"}',
    "surrogates the wrong way round": b'{"v":"\\udc00\\ud800"}',
    "a raw control character": b'{"v":"\x01"}',
    "arrays in arrays": b"[" * DEEP,
    "closed arrays in arrays": b"[" * DEEP + b"]" * DEEP,
    "objects in objects": b'{"a":' * DEEP,
    "closed objects in objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a long list": b"[" + b"0," * (LONG // 2) + b"0]",
    "many empty lists": b"[" + b"[]," * (LONG // 3) + b"[]]",
    "many keys": b"{" + b",".join(b'"k%d":0' % number for number in range(5_000)) + b"}",
    "duplicate keys": b'{"v":1,"v":1}',
    "NaN": b'{"v":NaN}',
    "Infinity": b'{"v":Infinity}',
    "minus Infinity": b'{"v":-Infinity}',
    "minus zero": b'{"v":-0}',
    "1e400": b'{"v":1e400}',
    "1e-400": b'{"v":1e-400}',
    "an exponent of 60,000 digits": b'{"v":1e' + b"9" * LONG + b"}",
    "an integer of 5,000 digits": b'{"v":' + b"9" * 5_000 + b"}",
    "a fraction of 60,000 digits": b'{"v":0.' + b"3" * LONG + b"}",
    "a leading zero": b'{"v":01}',
    "a trailing comma": b'{"v":1,}',
    "a comment": b'{"v":1}/* */',
    "single quotes": b"{'v':1}",
    "two values": b'{"v":1}{"v":1}',
    "packed arrays in arrays": b"\x91" * DEEP,
    "packed maps in maps": b"\x81\xa1a" * DEEP,
    "a packed extension": b"\xc7\x04\x01abcd",
    "a packed timestamp": msgspec.msgpack.encode(msgspec.msgpack.Ext(-1, b"\xff" * 12)),
    "a packed byte that means nothing": b"\xc1",
    "a packed NaN": b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "a packed key twice": b"\x82\xa1v\x01\xa1v\x01",
    "a packed key that is a list": b"\x81\x90\x01",
    **_packed_sizes(),
    **_zstd(),
}

_nested: Any = 0
for _ in range(400):
    _nested = [_nested]

VALUES: Final[dict[str, Any]] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "2^31": 2**31,
    "2^53 - 1": 2**53 - 1,
    "2^53": 2**53,
    "2^63 - 1": 2**63 - 1,
    "2^63": 2**63,
    "minus 2^63": -(2**63),
    "2^64 - 1": 2**64 - 1,
    "a fraction": 1.5,
    "minus zero": -0.0,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "an empty text": "",
    "a star": "*",
    "a line break": "a\nb",
    "a NUL": "a\x00b",
    "a text beyond the plane": "\U0001f6b0",
    "a right-to-left override": "\u202ea",
    "a digit of another script": "\u0661",
    "a long text": "a" * LONG,
    "an empty list": [],
    "an empty object": {},
    "a long list": [0] * (LONG // 2),
    "a huge vector": {f"dev-{number}-a": 1 for number in range(5_000)},
    "an object with a strange key": {"\u00e9": 1},
    "400 levels": _nested,
}
"""What may stand where another value belongs. JSON can say all of them; MessagePack too."""
