"""The group `zb fleet`: which commands there are. What each does is its module's; the rules are field-ingest's."""

import click

from zb.fleet.codes import codes, invite, uninvite


@click.group("fleet")
def fleet() -> None:
    """Invite devices, see how they are, and act on them."""


for _command in (invite, codes, uninvite):
    fleet.add_command(_command)
