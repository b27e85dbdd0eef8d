"""`zb backup`, `zb restore` and `zb heal`: what a person types. The work is done in the modules of these names."""

from pathlib import Path

import click

from zb.backup import back_up
from zb.heal import accept_loss, nothing_lost
from zb.restore import restore, restore_databases
from zb.retention import SUBJECT_KEYS_KEPT_DAYS, prune

PLACE = click.argument("place", metavar="BACKUP", type=click.Path(path_type=Path, file_okay=False))


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command("backup", short_help="Back up everything into a new folder, while it runs.")
@PLACE
@click.pass_obj
def backup_command(folder: Path, place: Path) -> None:
    """Back up the platform into the new folder BACKUP, while it runs.

    It holds the keys: who may read it can sign as this platform. Encrypt it, and keep it elsewhere. Data subjects' keys are taken
    out of the backups beside it that are older than 30 days (zb prune-backups does the same elsewhere).
    """
    made = back_up(folder / "up", place.absolute(), _say)
    _prune(place.absolute().parent, SUBJECT_KEYS_KEPT_DAYS)
    click.echo(f"{place}: {len(made.files)} files, {made.total_bytes} bytes, {made.streams} states, hash {made.state_hash}")
    for sha256 in made.missing:
        click.echo(f"evidence file {sha256} is not in the backup: the disk has not, or not whole, what the database names")
    if made.missing:
        raise click.exceptions.Exit(1)


@click.command("prune-backups", short_help="Take data subjects' keys out of old backups, so that what is erased stays erased.")
@click.argument("backups", metavar="FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--days", type=click.IntRange(0, 3_660), default=SUBJECT_KEYS_KEPT_DAYS, show_default=True, help="for so long they stay"
)
def prune_command(backups: Path, days: int) -> None:
    """Take data subjects' keys out of the backups in FOLDER that are older. All else of them stays and can be restored."""
    _prune(backups, days)


def _prune(backups: Path, days: int) -> None:
    for place in prune(backups, days=days):
        click.echo(f"{place}: the keys of data subjects are gone from this backup, it is older than {days} days")


@click.command("restore", short_help="Put a backup back into an empty place, and prove it.")
@PLACE
@click.option("--databases", is_flag=True, help="Only the databases, under a platform whose PostgreSQL folder is gone.")
@click.option(
    "--deletions",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A newer copy of scheduling/deletions.jsonl than the backup's: what was erased since is erased again.",
)
@click.pass_obj
def restore_command(folder: Path, place: Path, deletions: Path | None, *, databases: bool) -> None:
    """Put the backup BACKUP back into an empty data folder, and prove that it is the same.

    Nothing is started: `zb heal` has to be told first whether the platform went on after the backup was made.
    """
    if databases:
        found = restore_databases(place.absolute(), folder / "up", _say)
        click.echo(f"the databases in {folder / 'up'} are as of {found.made_at}; zb heal --accept-loss goes on from there")
        return
    found = restore(place.absolute(), folder / "up", _say, deletions=deletions)
    click.echo(f"{folder / 'up'} is as of {found.made_at}. Before zb up, say what came after it:")
    click.echo("  zb heal --nothing-lost   the platform was stopped when the backup was made")
    click.echo("  zb heal --accept-loss    it went on: devices and offices send again what they hold, the rest is lost")


@click.command("heal", short_help="Go on after a loss: say what is lost, and get back what others hold.")
@click.option("--accept-loss", "accepts", is_flag=True, help="Go on from the rows that the ledger has; it is never undone.")
@click.option("--nothing-lost", "nothing", is_flag=True, help="The platform was stopped when the backup was made.")
@click.option("--reason", default="restored from a backup", show_default=True, help="For the event that stays in the ledger.")
@click.pass_obj
def heal_command(folder: Path, reason: str, *, accepts: bool, nothing: bool) -> None:
    """Go on after the ledger lost rows, or after a restore.

    With --accept-loss the ledger says, signed, what it gives up; FIELD and OFFICE are read again from their beginning, and each
    device sends again what it holds at its next sync. It takes as long as reading them. zb up starts the platform afterwards.
    """
    if accepts == nothing:
        raise click.UsageError("say one of --accept-loss and --nothing-lost")
    home = folder / "up"
    if nothing:
        nothing_lost(home)
        click.echo(f"{home} goes on as if it had never stopped")
        return
    for line in accept_loss(home, reason, _say):
        click.echo(line)
