"""Every `zb` command that guides and alerts tell somebody to type: it exists, with these options and so many arguments."""

import re
import shlex
from pathlib import Path

import click
import pytest

from zb.cli import main

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("docs/fleet.md", "deploy/depots/README.md", "deploy/alerts/zone-blanche.yaml")
TYPED = re.compile(r"`(zb [^`\n]+)`|^(?:    )?(zb [^`\n]+)$", re.MULTILINE)
BESIDE = re.compile(r"\s{3,}(?=zb )|\s+&&\s+|\s+#.*$|\s+or:.*$", re.MULTILINE)


def commands() -> list[str]:
    """Each once; what stands on one line beside another, in brackets or behind a # is taken apart."""
    found = [
        one.strip()
        for page in PAGES
        for match in TYPED.finditer((ROOT / page).read_text())
        for one in BESIDE.sub("\n", (match[1] or match[2]).replace("[", "").replace("]", "").replace("...", "")).splitlines()
    ]
    return sorted({one for one in found if one.startswith("zb ")})


def test_the_guides_have_commands() -> None:
    typed = commands()
    assert "zb fleet agency lille --parent north" in typed
    assert "zb fleet list --silent-hours 72 --standing active" in typed
    assert len(typed) > 30


@pytest.mark.parametrize("typed", commands())
def test_a_command_of_the_guides_is_one_of_ours(typed: str) -> None:
    words = shlex.split(typed)[1:]
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
    known = {option: parameter for parameter in command.params for option in parameter.opts}
    if {"ignore_unknown_options"} & {name for name, value in command.context_settings.items() if value}:
        return  # handed over to the service, whose command it is
    given = 0
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            assert word in known, f"{command.name} has no option {word}"
            option = known[word]
            if words and isinstance(option, click.Option) and not option.is_flag:
                words.pop(0)
        else:
            given += 1
    takes = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    assert given <= len(takes) or any(parameter.nargs == -1 for parameter in takes)
