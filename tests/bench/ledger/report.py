"""The figures beside their targets: the printed table and `ledger.json`. A missed target is a row like the others."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

VERIFY_SHARE: Final = 0.4
RSS_GROWTH_MAX: Final = 0.10
"""What counts as flat: growth of resident memory between the two looks, as a share."""


@dataclass(frozen=True, slots=True)
class Target:
    """One figure. `target` None: measured to know it, nothing was promised."""

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["more", "less"] = "more"

    @property
    def ok(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "more" else self.value <= self.target


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def write(path: Path, about: dict[str, Any], targets: list[Target], details: dict[str, Any]) -> None:
    """The figures as JSON."""
    rows = [{**asdict(target), "ok": target.ok} for target in targets]
    date = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({"machine": about, "date": date, "targets": rows, "details": details}, indent=2) + "\n")


def table(targets: list[Target]) -> str:
    """The same as lines of text."""
    lines = [f"{'':58} {'measured':>12} {'target':>12}"]
    for one in targets:
        sign = "" if one.target is None else f"{'≥' if one.better == 'more' else '≤'} {_number(one.target)}"
        verdict = {None: "", True: "ok", False: "MISSED"}[one.ok]
        lines.append(f"{one.name:58} {_number(one.value):>12} {sign:>12} {one.unit:<12} {verdict}")
    return "\n".join(lines)


def markdown(about: dict[str, Any], targets: list[Target]) -> str:
    """The same as a page's section: what docs/performance.md shows between its marks."""
    said = f"{about['cpu']}, {about['cores']} cores, {about['system']}, Python {about['python']}"
    date = datetime.now(UTC).date().isoformat()
    lines = [f"Measured on {date}: {said}. Load at the start: {about['load_at_start']}.", "", "| figure | measured | target | |"]
    lines.append("|---|---:|---:|---|")
    for one in targets:
        sign = "" if one.target is None else f"{'at least' if one.better == 'more' else 'at most'} {_number(one.target)}"
        verdict = {None: "", True: "ok", False: "missed"}[one.ok]
        lines.append(f"| {one.name} | {_number(one.value)} {one.unit} | {sign} | {verdict} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
