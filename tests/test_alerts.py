"""The alert rules: they can be read, name only metrics that the services have, and say what they mean and what to do.

Prometheus' own checker is asked where it is installed (`promtool`, in Debian's package prometheus). The rules keep to a small
part of YAML, line by line, so that their form is held without it too.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from zb.play.stage import Stage
from zb.stack import PARTS, WARDEN

ROOT = Path(__file__).resolve().parent.parent
RULES = sorted((ROOT / "deploy" / "alerts").glob("*.yaml"))
LINES = {
    "group": re.compile(r"  - name: ([a-z-]+)"),
    "alert": re.compile(r"      - alert: ([A-Z][A-Za-z]+)"),
    "key": re.compile(r"        (expr|for|labels): (.+)"),
    "annotation": re.compile(r"          (summary|means|do): (.+)"),
    "other": re.compile(r"groups:|    rules:|        annotations:"),
}
PLAIN = re.compile(r"[^\s\"'`{}\[\]&*#?|<>=!%@,:-](?:(?!: | #).)*")
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
LABELS = re.compile(r"\{severity: (page|ticket)\}")
DURATION = re.compile(r"[1-9][0-9]*[mhd]")
METRIC = re.compile(r"\b((?:zb|process)_[a-z_]+)")


@dataclass
class Alert:
    """One rule as it was read."""

    name: str
    keys: dict[str, str] = field(default_factory=dict)


def alerts(path: Path) -> list[Alert]:
    """The rules of a file; AssertionError with the line for one that is not of the form."""
    found: list[Alert] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        kind, match = next(((kind, match) for kind, form in LINES.items() if (match := form.fullmatch(line))), ("", None))
        assert match is not None, f"{path.name}:{number}: {line}"
        if kind == "alert":
            found.append(Alert(match[1]))
        elif kind in ("key", "annotation"):
            value = match[2]
            assert match[1] == "labels" or PLAIN.fullmatch(value) or QUOTED.fullmatch(value), f"{path.name}:{number}: {line}"
            found[-1].keys[match[1]] = value
    return found


every_alert = pytest.mark.parametrize("alert", [one for path in RULES for one in alerts(path)], ids=lambda alert: alert.name)


@every_alert
def test_an_alert_says_what_it_means_and_what_to_do(alert: Alert) -> None:
    assert {"expr", "labels", "summary", "means", "do"} <= set(alert.keys)
    assert LABELS.fullmatch(alert.keys["labels"])
    assert DURATION.fullmatch(alert.keys.get("for", "1m"))
    assert alert.keys["expr"].count("(") == alert.keys["expr"].count(")")
    assert METRIC.search(alert.keys["expr"]) or alert.name == "ServiceDown"


def test_no_two_alerts_share_a_name() -> None:
    names = [alert.name for path in RULES for alert in alerts(path)]
    assert len(names) == len(set(names)) > 10


@every_alert
def test_what_an_alert_tells_to_ask_is_there(alert: Alert) -> None:
    paths = json.loads((ROOT / "contracts" / "generated" / "openapi" / "field-ingest.json").read_text())["paths"]
    named = set(re.findall(r"GET (/v1/[^`\s]+)", alert.keys["means"] + alert.keys["do"]))
    assert named <= set(paths)


def test_every_metric_of_an_alert_is_exposed_by_a_running_service(platform: Stage) -> None:
    exposed: set[str] = set()
    for service in (*PARTS, WARDEN):
        text = httpx.get(f"{platform.stack.services[service].url}/metrics", timeout=30).raise_for_status().text
        exposed |= set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    named = {name for path in RULES for alert in alerts(path) for name in METRIC.findall(alert.keys["expr"])}
    assert {name for name in named if name.removesuffix("_bucket") not in exposed} == set()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: the form was checked line by line")
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_prometheus_reads_the_rules(path: Path) -> None:
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
