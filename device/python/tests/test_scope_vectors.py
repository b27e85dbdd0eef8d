"""The vectors of scopes, step by step: this implementation makes of each delta what the protocol's page says."""

import json
from pathlib import Path

import msgspec
import pytest
import zstandard

from zb_contracts.catalogues import read_reference, unpacked
from zb_contracts.problems import Problem
from zb_contracts.sync import Catalogue, ScopeDelta
from zb_device.catalogues import Catalogues
from zb_device.reading import ReadModel

VECTORS = json.loads((Path(__file__).resolve().parents[3] / "contracts" / "vectors" / "scope.json").read_text())


def test_every_step_has_its_outcome_and_a_refused_one_changes_nothing(tmp_path):
    reading = ReadModel(tmp_path, "tech-anna", bytes(32))
    for step in VECTORS["steps"]:
        delta, outcome = msgspec.convert(step["delta"], ScopeDelta), "applied"
        try:
            reading.apply(delta, step["healing"])
        except Problem as fault:
            outcome = fault.code
        found = (outcome, reading.ids("intervention"), reading.scope().cursor)
        assert found == (step["outcome"], step["documents"], step["cursor"]), step["name"]
    reading.close()


def test_a_catalogue_has_the_hash_that_its_reference_names(tmp_path):
    case = VECTORS["catalogue"]
    content = case["content"].encode()
    reference = read_reference(case["document"], case["reference"].encode())
    assert reference.length_bytes == len(content)
    came = Catalogue(sha256=reference.sha256, packed=zstandard.ZstdCompressor().compress(content))
    assert unpacked(came) == content
    store = Catalogues(tmp_path, bytes(32))
    with pytest.raises(Problem):
        store.keep([msgspec.structs.replace(came, packed=zstandard.ZstdCompressor().compress(content + b" "))], [], 0)
    store.close()
