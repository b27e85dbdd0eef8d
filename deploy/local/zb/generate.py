"""Writes the generated contracts (schemas, AsyncAPI, OpenAPI, vectors, additions to the corpus), or verifies that all are fresh.

`python -m zb.generate [--verify | --release]`. The OpenAPI documents come from the services themselves: a stack is started in a
temporary folder and asked. `--release` takes today's schemas as those from which no later one may go back.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from zb.stack import PARTS, Stack
from zb_contracts import asyncapi, compatibility, golden, schemas
from zb_contracts.merge.page import merge_page
from zb_contracts.vectors import vectors

ROOT: Final = Path(__file__).resolve().parents[3]
GENERATED: Final = ROOT / "contracts" / "generated"
GOLDEN: Final = ROOT / "contracts" / "golden"
SCHEMAS: Final = GENERATED / "json-schema"
RELEASED: Final = ROOT / "contracts" / "released"
VECTORS: Final = ROOT / "contracts" / "vectors"
MERGE_PAGE: Final = ROOT / "docs" / "merge-tables.md"


def documents() -> Iterator[tuple[Path, Any]]:
    """Every generated file with its content."""
    for name, schema in schemas.event_schemas().items():
        yield SCHEMAS / "events" / f"{name}.json", schema
    for name, schema in schemas.message_schemas().items():
        yield SCHEMAS / f"{name}.json", schema
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
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--verify", action="store_true", help="write nothing; fail when a committed file is stale")
    what.add_argument("--release", action="store_true", help="write contracts/released; fail where a promise is broken")
    arguments = parser.parse_args()
    if arguments.release:
        return release()
    wanted = {path: text_of(content) for path, content in documents()}
    there = {path for folder in (GENERATED, VECTORS) for path in folder.rglob("*.json")} | {MERGE_PAGE}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    orphans = sorted(there - set(wanted))
    if arguments.verify:
        return verify([*stale, *orphans])
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    for path in orphans:
        path.unlink()
    return 0


def verify(stale: list[Path]) -> int:
    """Says what is stale and which promise is broken; 1 where there is anything to say."""
    faults = [f"{path.relative_to(ROOT)} is stale: run make generate" for path in stale]
    faults += [f"{fault}. Within a version only additions are possible: make a new one." for fault in broken_promises()]
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


def release() -> int:
    """Today's schemas become what later ones are compared with, unless they break what was released before."""
    faults = broken_promises()
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    if not faults:
        shutil.copytree(SCHEMAS, RELEASED, dirs_exist_ok=True)
    return 1 if faults else 0


def broken_promises() -> list[str]:
    """What breaks the released schemas, a line each."""
    return list(map(str, compatibility.breaks(schemas_in(RELEASED), schemas_in(SCHEMAS), schemas.WRITTEN)))


def schemas_in(folder: Path) -> dict[str, Any]:
    """File name -> schema."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))}


if __name__ == "__main__":
    sys.exit(main())
