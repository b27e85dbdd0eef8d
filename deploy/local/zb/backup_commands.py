"""`zb backup` and `zb restore`: what a person types. The work is `backup`'s and `restore`'s."""

from pathlib import Path

import click

from zb.backup import back_up
from zb.restore import restore

PLACE = click.argument("place", metavar="BACKUP", type=click.Path(path_type=Path, file_okay=False))


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command("backup", short_help="Back up everything into a new folder, while it runs.")
@PLACE
@click.pass_obj
def backup_command(folder: Path, place: Path) -> None:
    """Back up the platform into the new folder BACKUP, while it runs.

    It holds the keys: who may read it can sign as this platform. Encrypt it, and keep it elsewhere.
    """
    made = back_up(folder / "up", place.absolute(), _say)
    click.echo(f"{place}: {len(made.files)} files, {made.total_bytes} bytes, {made.streams} states, hash {made.state_hash}")
    for sha256 in made.missing:
        click.echo(f"evidence file {sha256} is not in the backup: the disk has not, or not whole, what the database names")
    if made.missing:
        raise click.exceptions.Exit(1)


@click.command("restore", short_help="Put a backup back into an empty place, and prove it.")
@PLACE
@click.pass_obj
def restore_command(folder: Path, place: Path) -> None:
    """Put the backup BACKUP back into an empty data folder, and prove that it is the same.

    Nothing is started: `zb heal` has to be told first whether the platform went on after the backup was made.
    """
    found = restore(place.absolute(), folder / "up", _say)
    click.echo(f"{folder / 'up'} is as of {found.made_at}. Before zb up, say what came after it:")
    click.echo("  zb heal --nothing-lost   the platform was stopped when the backup was made")
    click.echo("  zb heal --accept-loss    it went on: devices and offices send again what they hold, the rest is lost")
