"""House rules that a machine can check (STYLE.md): sizes, names, and words that must not be left behind."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}
SOURCE_SUFFIXES = {".py", ".sql", ".ts", ".tsx"}


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


SOURCES = [path for path in tracked() if path.suffix in SOURCE_SUFFIXES and "generated" not in path.parts]
PYTHON = [path for path in SOURCES if path.suffix == ".py"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_fits_in_the_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    assert [(name, lines) for name, lines in functions(path) if lines > FUNCTION_LINES_MAX] == []


def test_files_are_named_for_what_they_hold() -> None:
    assert [name_of(path) for path in SOURCES if path.stem in FORBIDDEN_NAMES] == []


def test_every_module_says_what_it_owns() -> None:
    silent = [path for path in PYTHON if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))]
    assert [name_of(path) for path in silent] == []


def test_nothing_is_left_for_later_without_a_reason() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|pytest\.mark\.skip\b(?!if)|xfail")
    found = [
        f"{name_of(path)}:{number}"
        for path in SOURCES
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


def test_a_domain_reads_no_clock_and_does_no_io() -> None:
    forbidden = {"time", "datetime", "random", "os", "asyncio", "asyncpg", "httpx", "nats", "pathlib", "secrets", "fastapi"}
    faults = []
    for path in PYTHON:
        if path.stem != "domain":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Await):
                faults.append(f"{name_of(path)}:{node.lineno} awaits")
            faults += [f"{name_of(path)} imports {name}" for name in names if name.partition(".")[0] in forbidden]
    assert faults == []
