"""A fleet lives a day on a platform of its own, and nothing that a device signed is missing from the ledger."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

DEVICES = 12
SEED = 19
"""By which one of them crashes on the way, one has a wrong clock, and some have no network at their visit."""


def simulated(home: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report, and what was said meanwhile."""
    command = [sys.executable, "-m", "zb", "--folder", str(home), "fleet", "simulate", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}, done.stderr


def test_a_day_of_twelve_devices_is_in_the_ledger_to_the_last_event(home: Path) -> None:
    options = {"devices": DEVICES, "whole": 1, "seed": SEED, "visits": 1}
    code, report, said = simulated(home, *(f"--{name}={value}" for name, value in options.items()))
    assert code == 0, said[-2000:]
    assert (report["lost"], report["other_ends"], report["unsettled_devices"], report["refused"]) == (0, 0, 0, {})
    assert report["ledger_sound"] is True
    assert report["ledger_rows"] > report["events"] > DEVICES * 10
    assert report["mishaps"] == {"crash": 1, "wrong clock": 1}
    assert report["photos"] >= DEVICES
    assert report["catalogues"] == DEVICES - 1, "each light device fetches the checklist once"
    assert "morning wave: 12 of 12" in said
    assert not (home / "simulation").exists()
