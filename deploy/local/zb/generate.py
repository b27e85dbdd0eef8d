"""Writes the generated contracts (schemas, AsyncAPI, OpenAPI, vectors, additions to the corpus), or verifies that all are fresh.

`python -m zb.generate [--verify]`. The OpenAPI documents come from the services themselves: a stack is started in a temporary
folder and asked.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from zb.stack import PARTS, Stack
from zb_contracts import asyncapi, golden, schemas
from zb_contracts.merge.page import merge_page
from zb_contracts.vectors import vectors

ROOT: Final = Path(__file__).resolve().parents[3]
GENERATED: Final = ROOT / "contracts" / "generated"
GOLDEN: Final = ROOT / "contracts" / "golden"
VECTORS: Final = ROOT / "contracts" / "vectors"
MERGE_PAGE: Final = ROOT / "docs" / "merge-tables.md"


def documents() -> Iterator[tuple[Path, Any]]:
    """Every generated file with its content."""
    for name, schema in schemas.event_schemas().items():
        yield GENERATED / "json-schema" / "events" / f"{name}.json", schema
    for name, schema in schemas.message_schemas().items():
        yield GENERATED / "json-schema" / f"{name}.json", schema
    yield GENERATED / "problems.json", schemas.problem_list()
    yield GENERATED / "asyncapi.json", asyncapi.document()
    for name, content in _openapi().items():
        yield GENERATED / "openapi" / f"{name}.json", content
    yield MERGE_PAGE, merge_page()
    for name, content in vectors().items():
        yield VECTORS / f"{name}.json", content
    for name, content in _golden().items():
        yield GOLDEN / f"{name}.json", content


def _golden() -> dict[str, Any]:
    """What the golden corpus lacks. What it has is never written again: a test holds it to the truth."""
    bodies = json.loads((GOLDEN / "bodies.json").read_text())
    there = {path.relative_to(GOLDEN).with_suffix("").as_posix(): path for path in GOLDEN.rglob("*/*.json")}
    return golden.additions({name: json.loads(path.read_text()) for name, path in there.items()}, bodies)


def _openapi() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="zb-generate-") as folder, Stack(Path(folder) / "data").running() as stack:
        return {name: httpx.get(f"{stack.services[name].url}/v1/openapi.json").raise_for_status().json() for name in PARTS}


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verify", action="store_true", help="write nothing; fail when a committed file is stale")
    verify = parser.parse_args().verify
    wanted = {path: text_of(content) for path, content in documents()}
    there = {path for folder in (GENERATED, VECTORS) for path in folder.rglob("*.json")} | {MERGE_PAGE}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
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
