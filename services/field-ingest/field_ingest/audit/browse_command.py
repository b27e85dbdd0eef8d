"""`audit browse` as a command: who reads, for what, and on which database.

What is read and how it is shown is `browse`'s matter, which brings a terminal's library: it is imported when somebody browses.
"""

import getpass

import click

from field_ingest.audit.pages import Dossier
from field_ingest.config import SERVICE, Settings
from zb_chassis import command_line
from zb_chassis.clock import clock_of
from zb_chassis.config import load
from zb_chassis.database import open_pool
from zb_chassis.users import ALL_AGENCIES, Role
from zb_contracts.merge.wording import Language
from zb_contracts.problems import Problem


@click.command("browse")
@click.argument("intervention")
@click.option("--purpose", required=True, help="Why you read it: it stands in the access log, e.g. `complaint 2026-114`.")
@click.option("--language", type=click.Choice(["fr", "en"]), default="fr", show_default=True)
def browse_command(intervention: str, purpose: str, language: Language) -> None:
    """Look at INTERVENTION (its number, its id, or any stream): every event with all its clocks and what it knew, set-aside
    values with the rule, evidence, proofs. Keys stand at the bottom."""
    # Half a second of every start else, and a service has no terminal.
    from field_ingest.audit.browse import Browser, read_dossier
    from zb_chassis.identity import PURPOSE_CHARACTERS_MAX, Principal

    if len(purpose) > PURPOSE_CHARACTERS_MAX:
        raise click.BadParameter(f"at most {PURPOSE_CHARACTERS_MAX} characters", param_hint="--purpose")
    settings = load(Settings)
    reader = Principal(f"terminal:{getpass.getuser()}", frozenset({Role.AUDITOR}), frozenset({ALL_AGENCIES}), purpose)

    async def work() -> Dossier:
        pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-cli", size_max=1)
        try:
            return await read_dossier(pool, intervention, reader, clock_of(settings.clock_file))
        finally:
            await pool.close()

    Browser(command_line.run(work(), Problem), language).run()
