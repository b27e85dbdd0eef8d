"""`make fuzz`: each target for its share of the time, with progress, a summary, and every finding kept as a file.

A target runs in a process of its own (`tests.fuzz.one`), because a finding of a native library could end it, and because
atheris never returns. Exit code 1 when anything was found.
"""

import json
import subprocess
import sys
import tempfile
import time

import click

from tests.fuzz.bombs import WHOLE
from tests.fuzz.one import GRACE_S, REGRESSIONS, Report
from tests.fuzz.targets import TARGETS


@click.command()
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(1), help="For all targets together.")
@click.option("--target", "names", multiple=True, type=click.Choice(sorted(TARGETS)), help="Only this one (may be repeated).")
@click.option("--seed", default=0, show_default=True, help="Another seed, other mutations.")
def fuzz(seconds: int, names: tuple[str, ...], seed: int) -> None:
    """Feed every reader of outside bytes with bad input."""
    chosen = names or tuple(TARGETS)
    share_s = max(1, seconds // len(chosen))
    reports = [_run(name, share_s, seed) for name in chosen]
    found = sum(len(report.findings) for report in reports)
    runs = sum(report.runs for report in reports)
    click.echo(f"{len(reports)} targets, {len(WHOLE)} named attacks each, {runs:,} mutations, {found} findings")
    sys.exit(1 if found else 0)


def _run(name: str, share_s: int, seed: int) -> Report:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zb-fuzz-") as corpus:
        command = [sys.executable, "-m", "tests.fuzz.one", name, str(share_s), str(seed), corpus]
        done = subprocess.run(command, capture_output=True, text=True, timeout=share_s + GRACE_S, check=False)
    report = _report(done)
    click.echo(f"{name:20} {time.monotonic() - began:6.1f} s {report.runs:>10,} runs  {report.way}")
    for finding in report.findings:
        click.echo(f"    {finding}")
    return report


def _report(done: subprocess.CompletedProcess[str]) -> Report:
    """What the process wrote last; a process that wrote none ended in a way that is itself a finding."""
    lines = done.stdout.splitlines()
    if lines and lines[-1].startswith("{"):
        return Report(**json.loads(lines[-1]))
    return Report(0, "ended", [f"exit code {done.returncode}, the input is kept in {REGRESSIONS}: {done.stderr[-500:]}"])


if __name__ == "__main__":
    fuzz()
