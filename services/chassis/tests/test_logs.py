"""The log of a service: what went wrong and where, and never what was in hand."""

import subprocess
import sys
from typing import Literal

import pytest

FAULT = """
import logging, structlog
from zb_chassis import logs

logs.configure("boiler", form=%r)

def opens(contact: str) -> None:
    raise ValueError("the seal is broken")

try:
    opens("Mme " + "Leclerc")
except ValueError as fault:
    structlog.get_logger("zb").error("unexpected fault", exc_info=fault)
    logging.getLogger("elsewhere").exception("unexpected fault")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_fault_names_its_frames_and_shows_no_value(form: Literal["json", "console"]) -> None:
    done = subprocess.run([sys.executable, "-c", FAULT % form], capture_output=True, text=True, check=True)
    assert done.stderr.count("the seal is broken") >= 2
    assert "opens" in done.stderr
    assert "Leclerc" not in done.stderr
