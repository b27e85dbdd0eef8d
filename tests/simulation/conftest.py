"""The table of which invariant noticed which switched-off safeguard, at the end of a test session that ran them."""

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line a mutation; properties travel from parallel workers, printed text would not."""
    rows = [dict(report.user_properties) for report in terminalreporter.stats.get("passed", ()) if report.when == "call"]
    caught = sorted((row["mutation"], row["noticed by"]) for row in rows if "mutation" in row)
    if caught:
        terminalreporter.section("safeguards switched off, and which invariant noticed")
        for mutation, invariant in caught:
            terminalreporter.write_line(f"{mutation:<32} {invariant}")
