"""The group `zb fleet`: which commands there are. What each does is its module's; the rules are field-ingest's."""

import click

from zb.fleet.acts import lost, resume, retire, suspend, wipe
from zb.fleet.agencies import administrator, agencies, agency_command
from zb.fleet.codes import codes, invite, replace, uninvite
from zb.fleet.devices import list_command, show_command
from zb.fleet.holds import admit, holds
from zb.simulation.command import simulate


@click.group("fleet")
def fleet() -> None:
    """Invite devices, see how they are, and act on them."""


for _command in (
    *(invite, codes, uninvite, replace),
    *(list_command, show_command),
    *(suspend, resume, lost, wipe, retire),
    *(holds, admit),
    *(agencies, agency_command, administrator),
    simulate,
):
    fleet.add_command(_command)
