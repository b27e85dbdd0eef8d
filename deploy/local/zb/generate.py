"""Writes the generated contracts (JSON Schema, AsyncAPI, OpenAPI, test vectors), or verifies that the committed ones are fresh.

`python -m zb.generate [--verify]`. The OpenAPI documents come from the services themselves, asked by process.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from zb.stack import PARTS
from zb_contracts import asyncapi, schemas
from zb_contracts.vectors import vectors

ROOT: Final = Path(__file__).resolve().parents[3]
GENERATED: Final = ROOT / "contracts" / "generated"
VECTORS: Final = ROOT / "contracts" / "vectors"


def documents() -> Iterator[tuple[Path, Any]]:
    """Every generated file with its content."""
    for name, schema in schemas.event_schemas().items():
        yield GENERATED / "json-schema" / "events" / f"{name}.json", schema
    for name, schema in schemas.message_schemas().items():
        yield GENERATED / "json-schema" / f"{name}.json", schema
    yield GENERATED / "problems.json", schemas.problem_list()
    yield GENERATED / "asyncapi.json", asyncapi.document()
    for name, part in PARTS.items():
        yield GENERATED / "openapi" / f"{name}.json", _openapi(part.module)
    for name, content in vectors().items():
        yield VECTORS / f"{name}.json", content


def _openapi(module: str) -> Any:
    printed = subprocess.run([sys.executable, "-m", module, "openapi"], check=True, capture_output=True, text=True).stdout  # noqa: S603
    return json.loads(printed)


def text_of(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verify", action="store_true", help="write nothing; fail when a committed file is stale")
    verify = parser.parse_args().verify
    wanted = {path: text_of(content) for path, content in documents()}
    there = {path for folder in (GENERATED, VECTORS) for path in folder.rglob("*.json")}
    stale = [path for path, text in wanted.items() if path not in there or path.read_text() != text]
    orphans = sorted(there - set(wanted))
    if verify:
        for path in (*stale, *orphans):
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale: run make generate\n")
        return 1 if stale or orphans else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    for path in orphans:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
