"""A fleet lives a day on a platform of its own, and nothing that a device signed is missing from the ledger."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

DEVICES = 20


def simulated(home: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report, and what was said meanwhile."""
    command = [sys.executable, "-m", "zb", "--folder", str(home), "fleet", "simulate", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}, done.stderr


def test_a_day_of_twenty_devices_is_in_the_ledger_to_the_last_event(home: Path) -> None:
    code, report, said = simulated(home, "--devices", str(DEVICES), "--whole", "1", "--seed", "1")
    assert code == 0, said[-2000:]
    assert (report["lost"], report["other_ends"], report["unsettled_devices"], report["refused"]) == (0, 0, 0, {})
    assert report["ledger_sound"] is True
    assert report["ledger_rows"] > report["events"] > DEVICES * 20
    assert report["mishaps"]["crash"] >= 1
    assert report["photos"] >= DEVICES
    assert "morning wave: 20 of 20" in said
    assert not (home / "simulation").exists()
